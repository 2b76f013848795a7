# pragma version 0.4.3
# pragma evm-version cancun
"""
Where each orchestrator of the sandbox protocol publishes the address of its service.
"""

event ServiceURIUpdate:
    addr: indexed(address)
    serviceURI: String[512]

event SetController:
    controller: address

controller: public(address)
service_uris: HashMap[address, String[512]]


@deploy
def __init__(_controller: address):
    self.controller = _controller


@external
@view
def getServiceURI(_addr: address) -> String[512]:
    return self.service_uris[_addr]


@external
def setServiceURI(_serviceURI: String[512]):
    self.service_uris[msg.sender] = _serviceURI
    log ServiceURIUpdate(addr=msg.sender, serviceURI=_serviceURI)


@external
@view
def targetContractId() -> bytes32:
    return keccak256("ServiceRegistryTarget")


@external
def setController(_controller: address):
    assert msg.sender == self.controller, "caller must be Controller"
    self.controller = _controller
    log SetController(controller=_controller)
