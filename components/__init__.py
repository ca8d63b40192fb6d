"""Reusable ComponentResources, one concern per file or folder, with templates beside their component."""
