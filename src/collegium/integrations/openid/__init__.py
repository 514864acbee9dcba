"""Client of OpenID providers: metadata and keys, the code exchange, logout tokens.

It follows OpenID Connect Core 1.0, Discovery 1.0, RP-Initiated Logout 1.0 and Back-Channel Logout
1.0, RFC 9700 (security of OAuth 2.0), RFC 7636 (PKCE) and RFC 9207 (issuer in the response).
Authlib builds the requests, joserfc verifies the signatures, and ``http_client`` sends everything.

Never call it inside a transaction: a request takes time. Every failure is a ``ProviderError`` that
reveals nothing of what the provider answered.
"""
