"""The deployment checklist of the source document's Appendix A, looked at on the live stack; it changes nothing."""
