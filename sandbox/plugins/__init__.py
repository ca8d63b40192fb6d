"""Stand-ins for the Pulumi plugins a machine without internet access cannot download.

Each one serves the engine's public gRPC protocols (``pulumirpc.LanguageRuntime`` and ``pulumirpc.ResourceProvider``)
and acts on real targets: the Kubernetes API, the Cloudflare v4 API, SSH. They implement what the program uses, refuse
anything else by name, and announce themselves in every run. Where the real plugins are installed,
``sandbox/bin/pulumi`` uses those instead.
"""
