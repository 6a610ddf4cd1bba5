"""What ``fastleuk doctor`` looks at: the installation and the machine, each with its remedy.

Every check is a small function that returns a :class:`~fastleuk.doctor.finding.Finding`. What may
crash the process that asks (a driver, a compiled extension) is asked by another process,
:mod:`fastleuk.doctor.probe`.
"""
