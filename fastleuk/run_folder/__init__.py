"""What a run folder is: names, state, lock, end mark, identity. Light: needs no torch, no NumPy.

``names`` says which files there are, ``state`` how far the run in them is and whether a process
is at it, ``identity`` what two runs differ in, ``start`` how a folder becomes a run's own.

A run is *new* until its first checkpoint, *running* while a process holds ``run.lock``,
*interrupted* when none does, *ended* when its last epoch is done and *tested* when its figures are
written. The last two stand in ``run.json``, which training alone advances: no other file of the
folder says that a run has ended, since ``fastleuk evaluate`` can write all of them at any time.
"""
