# pragma version 0.4.3
# pragma evm-version cancun
"""
The registry of the sandbox protocol: contract ids to addresses, the pause switch and its owner.
Ids are keccak256 of the contract's ASCII name. A new Controller starts paused, as on the live network.
"""

interface Manager:
    def setController(_controller: address): nonpayable

event SetContractInfo:
    id: bytes32
    contractAddress: address
    gitCommitHash: bytes20

event Pause:
    pass

event Unpause:
    pass

event OwnershipTransferred:
    previousOwner: indexed(address)
    newOwner: indexed(address)

struct ContractInfo:
    contractAddress: address
    gitCommitHash: bytes20

owner: public(address)
paused: public(bool)
registry: HashMap[bytes32, ContractInfo]


@deploy
def __init__():
    self.owner = msg.sender
    self.paused = True
    log OwnershipTransferred(previousOwner=empty(address), newOwner=msg.sender)


@internal
@view
def _only_owner():
    assert msg.sender == self.owner, "Ownable: caller is not the owner"


@external
@view
def getContract(_id: bytes32) -> address:
    return self.registry[_id].contractAddress


@external
@view
def getContractInfo(_id: bytes32) -> (address, bytes20):
    return self.registry[_id].contractAddress, self.registry[_id].gitCommitHash


@external
def setContractInfo(_id: bytes32, _contractAddress: address, _gitCommitHash: bytes20):
    self._only_owner()
    self.registry[_id] = ContractInfo(contractAddress=_contractAddress, gitCommitHash=_gitCommitHash)
    log SetContractInfo(id=_id, contractAddress=_contractAddress, gitCommitHash=_gitCommitHash)


@external
def updateController(_id: bytes32, _controller: address):
    self._only_owner()
    extcall Manager(self.registry[_id].contractAddress).setController(_controller)


@external
def pause():
    self._only_owner()
    assert not self.paused
    self.paused = True
    log Pause()


@external
def unpause():
    self._only_owner()
    assert self.paused
    self.paused = False
    log Unpause()


@external
def transferOwnership(newOwner: address):
    self._only_owner()
    assert newOwner != empty(address), "Ownable: new owner is the zero address"
    log OwnershipTransferred(previousOwner=self.owner, newOwner=newOwner)
    self.owner = newOwner
