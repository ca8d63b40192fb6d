"""The nodes as hosts one administers over SSH: stock Debian with sshd; Nginx and certbot installed, untouched."""
