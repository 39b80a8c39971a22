"""The parts of a Hearth installation, each started for real in its own scratch folder on loopback and random ports.

    with Testbed() as bed:                       # everything below is stopped and removed with it
        registry = bed.registry()
        image = bed.push(registry, small_image(layers=3), "test/small:v1")
        node = bed.node(registry)
        containerd = bed.containerd(node=node)
        containerd.pull(image)

Used alike by the tests (integration/e2e), the demo and the benchmarks. Needs root: it mounts and makes device nodes.
"""

from .bed import Testbed
from .containerd import Containerd
from .front import Front, Rule
from .image import Image, Layer, small_image
from .manager import Manager
from .node import Node
from .origin import Origin
from .registry import Registry

__all__ = ["Containerd", "Front", "Image", "Layer", "Manager", "Node", "Origin", "Registry", "Rule", "Testbed", "small_image"]
