"""Changes of the e-mail address of an account, until they are confirmed."""
