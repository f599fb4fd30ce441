"""A discrete-event simulation of brokers and queues, for what does not fit on this machine.

Costs are measured ones (`costs`), the system is `system`, what happens in it `flow`, and what it is
made of `engine`: sixty lines that do what a simulation library would be used for here, a clock with
a heap, and add what none has: processes that take a batch at a time and share a machine's cores.
"""
