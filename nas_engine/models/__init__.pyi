"""Names of the package, one per line."""

from nas_engine.models import widen as widen
from nas_engine.models.cifar_resnet import CifarResNet as CifarResNet
from nas_engine.models.cifar_resnet import load_cifar_resnet as load_cifar_resnet
from nas_engine.models.graph_network import Block as Block
from nas_engine.models.graph_network import ConvolutionUnit as ConvolutionUnit
from nas_engine.models.graph_network import GraphNetwork as GraphNetwork
