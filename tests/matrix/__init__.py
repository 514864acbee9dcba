"""Every route, everybody, in their own tenant and in another one."""
