"""What stands for the shared monitoring of the cluster: real servers with the parts that deployed stacks give them.

`service` starts and stops them, `configuration` is the frame around the stacks' parts, `objects.yaml` the pods, and
`outside` what is outside of the cluster: PagerDuty, Slack, the heartbeat's service.
"""
