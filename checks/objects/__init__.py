"""Rules over the objects that a stack really declares, whoever declared them.

The proofs beside this package judge the settings; these judge what the engine gets. ``policy/`` runs them in the
engine, on a preview, an update or a state file; the program tests run them on what each stack registers.
"""
