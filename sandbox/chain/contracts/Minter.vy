# pragma version 0.4.3
# pragma evm-version cancun
"""
The purse of the sandbox protocol: holds the ETH of every deposit, every reserve and all earned fees.
The ticket broker is recognised by its legacy id JobsManager.
"""

interface Controller:
    def getContract(_id: bytes32) -> address: view
    def paused() -> bool: view

event SetController:
    controller: address

controller: public(Controller)


@deploy
def __init__(_controller: address):
    self.controller = Controller(_controller)


@internal
@view
def _only_bonding_manager_or_jobs_manager():
    bonding_manager: address = staticcall self.controller.getContract(keccak256("BondingManager"))
    jobs_manager: address = staticcall self.controller.getContract(keccak256("JobsManager"))
    assert msg.sender in [bonding_manager, jobs_manager], "msg.sender not BondingManager or JobsManager"


@external
@view
def getController() -> address:
    return self.controller.address


@external
@payable
def depositETH() -> bool:
    self._only_bonding_manager_or_jobs_manager()
    return True


@external
def trustedWithdrawETH(_to: address, _amount: uint256):
    self._only_bonding_manager_or_jobs_manager()
    assert not staticcall self.controller.paused(), "system is paused"
    send(_to, _amount)


@external
def setController(_controller: address):
    assert msg.sender == self.controller.address, "caller must be Controller"
    self.controller = Controller(_controller)
    log SetController(controller=_controller)
