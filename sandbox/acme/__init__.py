"""The sandbox's certificate authority for origins (Pebble) and its public DNS (pebble-challtestsrv)."""
