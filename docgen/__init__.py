"""Generates the reference pages of the documentation from the code, and builds the site.

``script/docs`` runs it. Each page has a module with a function that returns its Markdown.
"""
