"""OpenID providers: organisations whose accounts people sign in with."""
