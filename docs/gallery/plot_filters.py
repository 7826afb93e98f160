"""
The filters of conv1
====================

The first layer looks for edges and colours.
"""

import matplotlib.pyplot as plt

import decaf

picture = decaf.filters_picture(decaf.load_backbone("imagenet-distilled"))
plt.imshow(picture)
plt.axis("off")
plt.show()
