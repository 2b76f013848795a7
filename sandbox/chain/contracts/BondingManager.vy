# pragma version 0.4.3
# pragma evm-version cancun
"""
Who works in the sandbox protocol: registered and active orchestrators, the ordered pool, and their earned fees.
There is no token and no bonding: functions whose name begins with "sandbox" (Controller owner only) put
orchestrators into the states that bonding would bring about.
"""

interface Controller:
    def getContract(_id: bytes32) -> address: view
    def paused() -> bool: view
    def owner() -> address: view

interface RoundsManager:
    def currentRound() -> uint256: view
    def currentRoundInitialized() -> bool: view

interface Minter:
    def trustedWithdrawETH(_to: address, _amount: uint256): nonpayable

event TranscoderActivated:
    transcoder: indexed(address)
    activationRound: uint256

event TranscoderDeactivated:
    transcoder: indexed(address)
    deactivationRound: uint256

event WithdrawFees:
    delegator: indexed(address)
    recipient: address
    amount: uint256

event ParameterUpdate:
    param: String[64]

event SetController:
    controller: address

struct Transcoder:
    stake: uint256
    activationRound: uint256
    deactivationRound: uint256
    cumulativeFees: uint256
    lastFeeRound: uint256
    inPool: bool

struct TranscoderInfo:
    lastRewardRound: uint256
    rewardCut: uint256
    feeShare: uint256
    lastActiveStakeUpdateRound: uint256
    activationRound: uint256
    deactivationRound: uint256
    activeCumulativeRewards: uint256
    cumulativeRewards: uint256
    cumulativeFees: uint256
    lastFeeRound: uint256

struct DelegatorInfo:
    bondedAmount: uint256
    fees: uint256
    delegateAddress: address
    delegatedAmount: uint256
    startRound: uint256
    lastClaimRound: uint256
    nextUnbondingLockId: uint256

MAX_POOL: constant(uint256) = 200
# Solidity's panic code for a division by zero (0x12).
DIVISION_BY_ZERO: constant(uint256) = 18

controller: public(Controller)
unbondingPeriod: public(uint64)
getTranscoderPoolMaxSize: public(uint256)
getFirstTranscoderInPool: public(address)
getNextTranscoderInPool: public(HashMap[address, address])
sandboxPoolSize: public(uint256)
pool_size: uint256
transcoders: HashMap[address, Transcoder]
fees: HashMap[address, uint256]


@deploy
def __init__(_controller: address):
    self.controller = Controller(_controller)
    self.unbondingPeriod = 7
    self.getTranscoderPoolMaxSize = 100


@internal
@view
def _only_controller_owner():
    assert msg.sender == staticcall self.controller.owner(), "caller must be Controller owner"


@internal
@view
def _rounds_manager() -> RoundsManager:
    return RoundsManager(staticcall self.controller.getContract(keccak256("RoundsManager")))


@internal
@view
def _when_running():
    assert not staticcall self.controller.paused(), "system is paused"
    assert staticcall self._rounds_manager().currentRoundInitialized(), "current round is not initialized"


@external
def updateTranscoderWithFees(_transcoder: address, _fees: uint256, _round: uint256):
    assert not staticcall self.controller.paused(), "system is paused"
    broker: address = staticcall self.controller.getContract(keccak256("TicketBroker"))
    assert msg.sender == broker, "caller must be TicketBroker"
    transcoder: Transcoder = self.transcoders[_transcoder]
    assert transcoder.stake > 0, "transcoder must be registered"
    current: uint256 = staticcall self._rounds_manager().currentRound()
    if transcoder.activationRound == 0 or current < transcoder.activationRound:
        # No stake history yet: on the live network the share per stake divides by zero.
        raw_revert(abi_encode(DIVISION_BY_ZERO, method_id=method_id("Panic(uint256)")))
    self.transcoders[_transcoder].cumulativeFees += _fees
    self.transcoders[_transcoder].lastFeeRound = current
    self.fees[_transcoder] += _fees


@external
def withdrawFees(_recipient: address, _amount: uint256):
    self._when_running()
    assert _recipient != empty(address), "invalid recipient"
    assert self.fees[msg.sender] >= _amount, "insufficient fees to withdraw"
    self.fees[msg.sender] -= _amount
    minter: address = staticcall self.controller.getContract(keccak256("Minter"))
    extcall Minter(minter).trustedWithdrawETH(_recipient, _amount)
    log WithdrawFees(delegator=msg.sender, recipient=_recipient, amount=_amount)


@external
@view
def isActiveTranscoder(_transcoder: address) -> bool:
    current: uint256 = staticcall self._rounds_manager().currentRound()
    transcoder: Transcoder = self.transcoders[_transcoder]
    return transcoder.activationRound <= current and current < transcoder.deactivationRound


@external
@view
def isRegisteredTranscoder(_transcoder: address) -> bool:
    return self.transcoders[_transcoder].stake > 0


@external
@view
def transcoderStatus(_transcoder: address) -> uint8:
    return 1 if self.transcoders[_transcoder].stake > 0 else 0


@external
@view
def transcoderTotalStake(_transcoder: address) -> uint256:
    return self.transcoders[_transcoder].stake


@external
@view
def pendingStake(_delegator: address, _endRound: uint256) -> uint256:
    return self.transcoders[_delegator].stake


@external
@view
def pendingFees(_delegator: address, _endRound: uint256) -> uint256:
    return self.fees[_delegator]


@external
@view
def getTranscoderPoolSize() -> uint256:
    return self.sandboxPoolSize if self.sandboxPoolSize > 0 else self.pool_size


@external
@view
def getTranscoder(_transcoder: address) -> TranscoderInfo:
    transcoder: Transcoder = self.transcoders[_transcoder]
    info: TranscoderInfo = empty(TranscoderInfo)
    info.lastActiveStakeUpdateRound = transcoder.activationRound
    info.activationRound = transcoder.activationRound
    info.deactivationRound = transcoder.deactivationRound
    info.cumulativeFees = transcoder.cumulativeFees
    info.lastFeeRound = transcoder.lastFeeRound
    return info


@external
@view
def getDelegator(_delegator: address) -> DelegatorInfo:
    stake: uint256 = self.transcoders[_delegator].stake
    info: DelegatorInfo = empty(DelegatorInfo)
    info.bondedAmount = stake
    info.fees = self.fees[_delegator]
    info.delegateAddress = _delegator if stake > 0 else empty(address)
    info.delegatedAmount = stake
    return info


@external
@view
def targetContractId() -> bytes32:
    return keccak256("BondingManagerTarget")


@external
def setNumActiveTranscoders(_numActiveTranscoders: uint256):
    self._only_controller_owner()
    self.getTranscoderPoolMaxSize = _numActiveTranscoders
    log ParameterUpdate(param="numActiveTranscoders")


@external
def setUnbondingPeriod(_unbondingPeriod: uint64):
    self._only_controller_owner()
    self.unbondingPeriod = _unbondingPeriod
    log ParameterUpdate(param="unbondingPeriod")


@external
def setController(_controller: address):
    assert msg.sender == self.controller.address, "caller must be Controller"
    self.controller = Controller(_controller)
    log SetController(controller=_controller)


@internal
def _join_pool(_transcoder: address):
    """
    Insert behind every member with at least the same stake.
    """
    stake: uint256 = self.transcoders[_transcoder].stake
    behind: address = empty(address)
    following: address = self.getFirstTranscoderInPool
    for i: uint256 in range(MAX_POOL):
        if following == empty(address) or self.transcoders[following].stake < stake:
            break
        behind = following
        following = self.getNextTranscoderInPool[following]
    if behind == empty(address):
        self.getFirstTranscoderInPool = _transcoder
    else:
        self.getNextTranscoderInPool[behind] = _transcoder
    self.getNextTranscoderInPool[_transcoder] = following
    self.transcoders[_transcoder].inPool = True
    self.pool_size += 1


@internal
def _leave_pool(_transcoder: address):
    following: address = self.getNextTranscoderInPool[_transcoder]
    if self.getFirstTranscoderInPool == _transcoder:
        self.getFirstTranscoderInPool = following
    else:
        member: address = self.getFirstTranscoderInPool
        for i: uint256 in range(MAX_POOL):
            if self.getNextTranscoderInPool[member] == _transcoder:
                break
            member = self.getNextTranscoderInPool[member]
        self.getNextTranscoderInPool[member] = following
    self.getNextTranscoderInPool[_transcoder] = empty(address)
    self.transcoders[_transcoder].inPool = False
    self.pool_size -= 1


@external
def sandboxSetStake(_transcoder: address, _stake: uint256):
    """
    A stake above 0 registers the orchestrator (without a place in the pool); 0 unbonds it completely.
    """
    self._only_controller_owner()
    in_pool: bool = self.transcoders[_transcoder].inPool
    if in_pool:
        self._leave_pool(_transcoder)
    self.transcoders[_transcoder].stake = _stake
    if in_pool and _stake > 0:
        self._join_pool(_transcoder)


@external
def sandboxActivate(_transcoder: address, _activationRound: uint256):
    """
    Join the pool at once (the pool size changes now) and be active from a round on.
    """
    self._only_controller_owner()
    assert self.transcoders[_transcoder].stake > 0, "transcoder must be registered"
    if not self.transcoders[_transcoder].inPool:
        self._join_pool(_transcoder)
    self.transcoders[_transcoder].activationRound = _activationRound
    self.transcoders[_transcoder].deactivationRound = max_value(uint256)
    log TranscoderActivated(transcoder=_transcoder, activationRound=_activationRound)


@external
def sandboxDeactivate(_transcoder: address, _deactivationRound: uint256):
    """
    Leave the pool at once and be inactive from a round on.
    """
    self._only_controller_owner()
    if self.transcoders[_transcoder].inPool:
        self._leave_pool(_transcoder)
    self.transcoders[_transcoder].deactivationRound = _deactivationRound
    log TranscoderDeactivated(transcoder=_transcoder, deactivationRound=_deactivationRound)


@external
def sandboxSetPoolSize(_size: uint256):
    """
    Report this pool size instead of the number of members; 0 reports the members again.
    """
    self._only_controller_owner()
    self.sandboxPoolSize = _size
