"""The whole configuration of one stack as a typed, frozen tree. Nothing else in the program reads Pulumi config."""
