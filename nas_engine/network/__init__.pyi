"""Names of the package, one per line."""

from nas_engine.network.from_architecture import graph_of as graph_of
from nas_engine.network.graph import KINDS as KINDS
from nas_engine.network.graph import Graph as Graph
from nas_engine.network.graph import NetworkError as NetworkError
from nas_engine.network.graph import Node as Node
from nas_engine.network.graph import NodeKind as NodeKind
from nas_engine.network.graph import Tensor as Tensor
from nas_engine.network.graph import check_graph as check_graph
