"""The API of BrainSTEM: groups, membership requests and invitations."""
