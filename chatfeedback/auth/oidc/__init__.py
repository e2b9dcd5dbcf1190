"""OpenID Connect client of an identity provider."""
