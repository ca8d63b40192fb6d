"""Versions of the real plugins whose behaviour the stand-ins follow: those of the SDKs in ``requirements.txt``."""

KUBERNETES = "4.34.2"
CLOUDFLARE = "6.23.1"
COMMAND = "1.2.1"
