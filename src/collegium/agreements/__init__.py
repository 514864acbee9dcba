"""User agreements: terms of service and privacy policy, and who agreed to which version."""
