"""The BrainSTEM wire: groups, requests and invitations to them, as laboratories' scripts speak."""
