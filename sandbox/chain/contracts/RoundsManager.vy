# pragma version 0.4.3
# pragma evm-version cancun
"""
The clock of the sandbox protocol: rounds counted in blocks, and the block hash stored when a round is initialised.
Functions whose name begins with "sandbox" exist only here; they play the chain's rare days for tests.
"""

interface Controller:
    def paused() -> bool: view
    def owner() -> address: view

event NewRound:
    round: indexed(uint256)
    blockHash: bytes32

event ParameterUpdate:
    param: String[64]

event SetController:
    controller: address

MILLION: constant(uint256) = 1_000_000

controller: public(Controller)
roundLength: public(uint256)
roundLockAmount: public(uint256)
lastInitializedRound: public(uint256)
lastRoundLengthUpdateRound: public(uint256)
lastRoundLengthUpdateStartBlock: public(uint256)
lipUpgradeRound: public(HashMap[uint256, uint256])
blockHashForRound: public(HashMap[uint256, bytes32])
sandboxZeroHash: public(bool)


@deploy
def __init__(_controller: address, _roundLength: uint256, _firstRound: uint256):
    self.controller = Controller(_controller)
    self.roundLength = _roundLength
    self.roundLockAmount = 100_000
    self.lastRoundLengthUpdateRound = _firstRound
    self.lastRoundLengthUpdateStartBlock = block.number


@internal
@view
def _only_controller_owner():
    assert msg.sender == staticcall self.controller.owner(), "caller must be Controller owner"


@internal
@view
def _rounds_since_anchor() -> uint256:
    return (block.number - self.lastRoundLengthUpdateStartBlock) // self.roundLength


@internal
@view
def _current_round() -> uint256:
    return self.lastRoundLengthUpdateRound + self._rounds_since_anchor()


@internal
@view
def _current_round_start_block() -> uint256:
    return self.lastRoundLengthUpdateStartBlock + self._rounds_since_anchor() * self.roundLength


@internal
@view
def _block_hash(_block: uint256) -> bytes32:
    assert _block < block.number, "can only retrieve past block hashes"
    assert block.number < 256 or _block >= block.number - 256, "can only retrieve hashes for last 256 blocks"
    return blockhash(_block)


@external
def initializeRound():
    assert not staticcall self.controller.paused(), "system is paused"
    current: uint256 = self._current_round()
    assert self.lastInitializedRound < current, "round already initialized"
    stored: bytes32 = empty(bytes32)
    if not self.sandboxZeroHash:
        stored = self._block_hash(block.number - 1)
    self.lastInitializedRound = current
    self.blockHashForRound[current] = stored
    log NewRound(round=current, blockHash=stored)


@external
@view
def currentRound() -> uint256:
    return self._current_round()


@external
@view
def currentRoundStartBlock() -> uint256:
    return self._current_round_start_block()


@external
@view
def currentRoundInitialized() -> bool:
    return self.lastInitializedRound == self._current_round()


@external
@view
def currentRoundLocked() -> bool:
    locked_blocks: uint256 = self.roundLength * self.roundLockAmount // MILLION
    return block.number - self._current_round_start_block() >= self.roundLength - locked_blocks


@external
@view
def blockNum() -> uint256:
    return block.number


@external
@view
def blockHash(_block: uint256) -> bytes32:
    return self._block_hash(_block)


@external
@view
def targetContractId() -> bytes32:
    return keccak256("RoundsManagerTarget")


@external
def setRoundLength(_roundLength: uint256):
    self._only_controller_owner()
    assert _roundLength > 0, "round length cannot be 0"
    round: uint256 = self._current_round()
    start_block: uint256 = self._current_round_start_block()
    self.lastRoundLengthUpdateRound = round
    self.lastRoundLengthUpdateStartBlock = start_block
    self.roundLength = _roundLength
    log ParameterUpdate(param="roundLength")


@external
def setRoundLockAmount(_roundLockAmount: uint256):
    self._only_controller_owner()
    assert _roundLockAmount <= MILLION, "round lock amount must be a valid percentage"
    self.roundLockAmount = _roundLockAmount
    log ParameterUpdate(param="roundLockAmount")


@external
def setLIPUpgradeRound(_lip: uint256, _round: uint256):
    self._only_controller_owner()
    assert self.lipUpgradeRound[_lip] == 0, "LIP upgrade round already set"
    self.lipUpgradeRound[_lip] = _round


@external
def setController(_controller: address):
    assert msg.sender == self.controller.address, "caller must be Controller"
    self.controller = Controller(_controller)
    log SetController(controller=_controller)


@external
def sandboxSetZeroHash(_zero: bool):
    """
    While set, initializeRound stores the zero hash, as the live chain did for some rounds.
    """
    self._only_controller_owner()
    self.sandboxZeroHash = _zero
