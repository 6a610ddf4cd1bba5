"""What a run looks at: Grad-CAM, how much of it lies inside the cell, and what contradicts it.

A heat map is a hint and no proof. So three checks stand beside it: the share of the heat inside
the cell (beside the cell's share of the image), the same maps by a network with random weights,
and occlusion, which asks the network itself.
"""
