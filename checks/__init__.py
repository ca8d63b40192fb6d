"""Proofs over the settings, made before anything is touched (design section 5).

Pure functions over typed values: no Pulumi, no network, no clock. Data flows one way: settings -> proofs -> components.
"""
