-- No instance registers while it is decided whether one needs what a down script takes away. Heartbeats wait, shortly.
lock table reeve.instance in share mode
