"""Invite links: many people may use one."""
