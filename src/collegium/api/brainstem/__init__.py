"""The BrainSTEM API: groups, membership requests and invitations."""
