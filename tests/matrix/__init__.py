"""Rights of every caller on every route, in the own tenant and in another one."""
