# pragma version 0.4.3
# pragma evm-version cancun
"""
Deposits, reserves and winning tickets of the sandbox protocol.
Same selectors, events, order of checks, revert texts and arithmetic as the live TicketBroker, for everything a
sender, a redeemer and an indexer meet. Differences: a batch holds at most 64 tickets, auxData and signatures
longer than 256 and 128 bytes are refused without a text.
"""

interface Controller:
    def getContract(_id: bytes32) -> address: view
    def paused() -> bool: view
    def owner() -> address: view

interface RoundsManager:
    def currentRound() -> uint256: view
    def currentRoundInitialized() -> bool: view
    def blockHashForRound(_round: uint256) -> bytes32: view

interface BondingManager:
    def getTranscoderPoolSize() -> uint256: view
    def isActiveTranscoder(_transcoder: address) -> bool: view
    def updateTranscoderWithFees(_transcoder: address, _fees: uint256, _round: uint256): nonpayable

interface Minter:
    def depositETH() -> bool: payable
    def trustedWithdrawETH(_to: address, _amount: uint256): nonpayable

event DepositFunded:
    sender: indexed(address)
    amount: uint256

event ReserveFunded:
    reserveHolder: indexed(address)
    amount: uint256

event ReserveClaimed:
    reserveHolder: indexed(address)
    claimant: address
    amount: uint256

event WinningTicketTransfer:
    sender: indexed(address)
    recipient: indexed(address)
    amount: uint256

event WinningTicketRedeemed:
    sender: indexed(address)
    recipient: indexed(address)
    faceValue: uint256
    winProb: uint256
    senderNonce: uint256
    recipientRand: uint256
    auxData: Bytes[256]

event Unlock:
    sender: indexed(address)
    startRound: uint256
    endRound: uint256

event UnlockCancelled:
    sender: indexed(address)

event Withdrawal:
    sender: indexed(address)
    deposit: uint256
    reserve: uint256

event ParameterUpdate:
    param: String[64]

event SetController:
    controller: address

struct Ticket:
    recipient: address
    sender: address
    faceValue: uint256
    winProb: uint256
    senderNonce: uint256
    recipientRandHash: bytes32
    auxData: Bytes[256]

struct Sender:
    deposit: uint256
    withdrawRound: uint256

struct ReserveInfo:
    fundsRemaining: uint256
    claimedInCurrentRound: uint256

MAX_BATCH: constant(uint256) = 64
# Solidity's panic code for arithmetic underflow and overflow (0x11).
OVERFLOW: constant(uint256) = 17
HALF_CURVE_ORDER: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168

controller: public(Controller)
unlockPeriod: public(uint256)
ticketValidityPeriod: public(uint256)
usedTickets: public(HashMap[bytes32, bool])
senders: HashMap[address, Sender]
reserves: HashMap[address, uint256]
claimed_in_round: HashMap[address, HashMap[uint256, uint256]]
claimed_by: HashMap[address, HashMap[uint256, HashMap[address, uint256]]]


@deploy
def __init__(_controller: address):
    self.controller = Controller(_controller)
    self.unlockPeriod = 2
    self.ticketValidityPeriod = 2


@internal
@pure
def _panic(_code: uint256):
    raw_revert(abi_encode(_code, method_id=method_id("Panic(uint256)")))


@internal
@view
def _rounds_manager() -> RoundsManager:
    return RoundsManager(staticcall self.controller.getContract(keccak256("RoundsManager")))


@internal
@view
def _bonding_manager() -> BondingManager:
    return BondingManager(staticcall self.controller.getContract(keccak256("BondingManager")))


@internal
@view
def _minter() -> Minter:
    return Minter(staticcall self.controller.getContract(keccak256("Minter")))


@internal
@view
def _current_round() -> uint256:
    return staticcall self._rounds_manager().currentRound()


@internal
@view
def _when_not_paused():
    assert not staticcall self.controller.paused(), "system is paused"


@internal
@view
def _when_round_initialized():
    assert staticcall self._rounds_manager().currentRoundInitialized(), "current round is not initialized"


@internal
@view
def _only_controller_owner():
    assert msg.sender == staticcall self.controller.owner(), "caller must be Controller owner"


# Funding


@internal
def _fund_reserve(_holder: address, _amount: uint256):
    self.reserves[_holder] += _amount
    log ReserveFunded(reserveHolder=_holder, amount=_amount)


@internal
def _fund_deposit(_sender: address, _amount: uint256):
    self.senders[_sender].deposit += _amount
    log DepositFunded(sender=_sender, amount=_amount)


@internal
def _cancel_unlock_of_own_account(_sender: address):
    """
    Only funding by the sender itself ends an unlock; a third party's money leaves it alone.
    """
    if _sender == msg.sender and self.senders[_sender].withdrawRound > 0:
        self._cancel_unlock(_sender)


@internal
def _cancel_unlock(_sender: address):
    self.senders[_sender].withdrawRound = 0
    log UnlockCancelled(sender=_sender)


@internal
@payable
def _fund_both(_sender: address, _depositAmount: uint256, _reserveAmount: uint256):
    self._when_not_paused()
    if _depositAmount > max_value(uint256) - _reserveAmount:
        self._panic(OVERFLOW)
    assert msg.value == _depositAmount + _reserveAmount, "msg.value does not equal sum of deposit amount and reserve amount"
    self._cancel_unlock_of_own_account(_sender)
    self._fund_reserve(_sender, _reserveAmount)
    self._fund_deposit(_sender, _depositAmount)
    extcall self._minter().depositETH(value=msg.value)


@external
@payable
def fundDeposit():
    self._when_not_paused()
    self._cancel_unlock_of_own_account(msg.sender)
    self._fund_deposit(msg.sender, msg.value)
    extcall self._minter().depositETH(value=msg.value)


@external
@payable
def fundReserve():
    self._when_not_paused()
    self._cancel_unlock_of_own_account(msg.sender)
    self._fund_reserve(msg.sender, msg.value)
    extcall self._minter().depositETH(value=msg.value)


@external
@payable
def fundDepositAndReserve(_depositAmount: uint256, _reserveAmount: uint256):
    self._fund_both(msg.sender, _depositAmount, _reserveAmount)


@external
@payable
def fundDepositAndReserveFor(_addr: address, _depositAmount: uint256, _reserveAmount: uint256):
    self._fund_both(_addr, _depositAmount, _reserveAmount)


# Unlock and withdrawal


@internal
@view
def _has_funds(_sender: address) -> bool:
    return self.senders[_sender].deposit > 0 or self.reserves[_sender] > 0


@external
def unlock():
    self._when_not_paused()
    assert self._has_funds(msg.sender), "sender deposit and reserve are zero"
    assert self.senders[msg.sender].withdrawRound == 0, "unlock already initiated"
    current: uint256 = self._current_round()
    withdraw_round: uint256 = current + self.unlockPeriod
    self.senders[msg.sender].withdrawRound = withdraw_round
    log Unlock(sender=msg.sender, startRound=current, endRound=withdraw_round)


@external
def cancelUnlock():
    self._when_not_paused()
    assert self.senders[msg.sender].withdrawRound > 0, "no unlock request in progress"
    self._cancel_unlock(msg.sender)


@external
def withdraw():
    self._when_not_paused()
    assert self._has_funds(msg.sender), "sender deposit and reserve are zero"
    withdraw_round: uint256 = self.senders[msg.sender].withdrawRound
    assert withdraw_round > 0, "no unlock request in progress"
    assert self._current_round() >= withdraw_round, "account is locked"
    deposit: uint256 = self.senders[msg.sender].deposit
    reserve: uint256 = self.reserves[msg.sender]
    # withdrawRound stays: the account counts as unlocking until its owner cancels or funds.
    self.senders[msg.sender].deposit = 0
    self.reserves[msg.sender] = 0
    extcall self._minter().trustedWithdrawETH(msg.sender, deposit + reserve)
    log Withdrawal(sender=msg.sender, deposit=deposit, reserve=reserve)


# Redemption


@internal
@pure
def _ticket_hash(_ticket: Ticket) -> bytes32:
    return keccak256(
        concat(
            convert(_ticket.recipient, bytes20),
            convert(_ticket.sender, bytes20),
            convert(_ticket.faceValue, bytes32),
            convert(_ticket.winProb, bytes32),
            convert(_ticket.senderNonce, bytes32),
            _ticket.recipientRandHash,
            _ticket.auxData,
        )
    )


@internal
@pure
def _signer_of(_hash: bytes32, _sig: Bytes[128]) -> address:
    assert len(_sig) == 65, "INVALID_SIGNATURE_LENGTH"
    v: uint256 = convert(slice(_sig, 64, 1), uint256)
    assert v == 27 or v == 28, "ECDSA: invalid signature 'v' value"
    s: uint256 = extract32(_sig, 32, output_type=uint256)
    assert s <= HALF_CURVE_ORDER, "ECDSA: invalid signature 's' value"
    digest: bytes32 = keccak256(concat(b"\x19Ethereum Signed Message:\n32", _hash))
    signer: address = ecrecover(digest, v, extract32(_sig, 0, output_type=uint256), s)
    assert signer != empty(address), "ECDSA: invalid signature"
    return signer


@internal
@view
def _require_valid_aux_data(_auxData: Bytes[256]):
    assert len(_auxData) == 64, "invalid length for ticket auxData: must be 64 bytes"
    creation_round: uint256 = extract32(_auxData, 0, output_type=uint256)
    block_hash: bytes32 = extract32(_auxData, 32, output_type=bytes32)
    stored: bytes32 = staticcall self._rounds_manager().blockHashForRound(creation_round)
    assert stored != empty(bytes32), "ticket creationRound does not have a block hash"
    assert stored == block_hash, "ticket creationRoundBlockHash invalid for creationRound"
    assert creation_round + self.ticketValidityPeriod > self._current_round(), "ticket is expired"


@internal
@view
def _require_winning_ticket(_ticket: Ticket, _hash: bytes32, _sig: Bytes[128], _recipientRand: uint256):
    assert _ticket.recipient != empty(address), "ticket recipient is null address"
    assert _ticket.sender != empty(address), "ticket sender is null address"
    self._require_valid_aux_data(_ticket.auxData)
    rand: bytes32 = convert(_recipientRand, bytes32)
    assert keccak256(rand) == _ticket.recipientRandHash, "recipientRand does not match recipientRandHash"
    assert not self.usedTickets[_hash], "ticket is used"
    assert self._signer_of(_hash, _sig) == _ticket.sender, "invalid signature over ticket hash"
    draw: uint256 = convert(keccak256(concat(_sig, rand)), uint256)
    assert draw < _ticket.winProb, "ticket did not win"


@internal
def _claim_from_reserve(_holder: address, _claimant: address, _amount: uint256) -> uint256:
    amount: uint256 = min(_amount, self._claimable_reserve(_holder, _claimant))
    if amount == 0:
        return 0
    if amount > self.reserves[_holder]:
        self._panic(OVERFLOW)
    current: uint256 = self._current_round()
    self.claimed_in_round[_holder][current] += amount
    self.claimed_by[_holder][current][_claimant] += amount
    self.reserves[_holder] -= amount
    log ReserveClaimed(reserveHolder=_holder, claimant=_claimant, amount=amount)
    return amount


@internal
def _pay(_ticket: Ticket) -> uint256:
    """
    Takes the face value from the deposit, then from the recipient's share of the reserve; returns what was found.
    """
    deposit: uint256 = self.senders[_ticket.sender].deposit
    if _ticket.faceValue <= deposit:
        self.senders[_ticket.sender].deposit = deposit - _ticket.faceValue
        return _ticket.faceValue
    claimed: uint256 = self._claim_from_reserve(_ticket.sender, _ticket.recipient, _ticket.faceValue - deposit)
    self.senders[_ticket.sender].deposit = 0
    return deposit + claimed


@external
def redeemWinningTicket(_ticket: Ticket, _sig: Bytes[128], _recipientRand: uint256):
    self._when_not_paused()
    self._when_round_initialized()
    ticket_hash: bytes32 = self._ticket_hash(_ticket)
    self._require_winning_ticket(_ticket, ticket_hash, _sig, _recipientRand)
    withdraw_round: uint256 = self.senders[_ticket.sender].withdrawRound
    assert withdraw_round == 0 or self._current_round() < withdraw_round, "sender is unlocked"
    assert self._has_funds(_ticket.sender), "sender deposit and reserve are zero"
    self.usedTickets[ticket_hash] = True
    amount: uint256 = self._pay(_ticket)
    if amount > 0:
        creation_round: uint256 = extract32(_ticket.auxData, 0, output_type=uint256)
        extcall self._bonding_manager().updateTranscoderWithFees(_ticket.recipient, amount, creation_round)
        log WinningTicketTransfer(sender=_ticket.sender, recipient=_ticket.recipient, amount=amount)
    log WinningTicketRedeemed(
        sender=_ticket.sender,
        recipient=_ticket.recipient,
        faceValue=_ticket.faceValue,
        winProb=_ticket.winProb,
        senderNonce=_ticket.senderNonce,
        recipientRand=_recipientRand,
        auxData=_ticket.auxData,
    )


@external
def batchRedeemWinningTickets(
    _tickets: DynArray[Ticket, MAX_BATCH], _sigs: DynArray[Bytes[128], MAX_BATCH], _recipientRands: DynArray[uint256, MAX_BATCH]
):
    self._when_not_paused()
    self._when_round_initialized()
    for i: uint256 in range(len(_tickets), bound=MAX_BATCH):
        call: Bytes[1024] = abi_encode(
            _tickets[i],
            _sigs[i],
            _recipientRands[i],
            method_id=method_id("redeemWinningTicket((address,address,uint256,uint256,uint256,bytes32,bytes),bytes,uint256)"),
        )
        # A ticket that fails takes nothing else with it and leaves no trace.
        redeemed: bool = raw_call(self, call, revert_on_failure=False)


# Views


@internal
@view
def _claimable_reserve(_holder: address, _claimant: address) -> uint256:
    bonding_manager: BondingManager = self._bonding_manager()
    pool_size: uint256 = staticcall bonding_manager.getTranscoderPoolSize()
    if pool_size == 0 or not staticcall bonding_manager.isActiveTranscoder(_claimant):
        return 0
    current: uint256 = self._current_round()
    share: uint256 = (self.reserves[_holder] + self.claimed_in_round[_holder][current]) // pool_size
    claimed: uint256 = self.claimed_by[_holder][current][_claimant]
    if claimed > share:
        # The pool grew after this claimant had drawn near its limit.
        self._panic(OVERFLOW)
    return share - claimed


@internal
@view
def _reserve_info(_holder: address) -> ReserveInfo:
    return ReserveInfo(
        fundsRemaining=self.reserves[_holder],
        claimedInCurrentRound=self.claimed_in_round[_holder][self._current_round()],
    )


@external
@view
def getSenderInfo(_sender: address) -> (Sender, ReserveInfo):
    return self.senders[_sender], self._reserve_info(_sender)


@external
@view
def getReserveInfo(_reserveHolder: address) -> ReserveInfo:
    return self._reserve_info(_reserveHolder)


@external
@view
def claimableReserve(_reserveHolder: address, _claimant: address) -> uint256:
    return self._claimable_reserve(_reserveHolder, _claimant)


@external
@view
def claimedReserve(_reserveHolder: address, _claimant: address) -> uint256:
    return self.claimed_by[_reserveHolder][self._current_round()][_claimant]


@external
@view
def isUnlockInProgress(_sender: address) -> bool:
    return self.senders[_sender].withdrawRound > 0


@external
@pure
def getTicketHash(_ticket: Ticket) -> bytes32:
    return self._ticket_hash(_ticket)


@external
@view
def targetContractId() -> bytes32:
    return keccak256("TicketBrokerTarget")


# Parameters


@external
def setUnlockPeriod(_unlockPeriod: uint256):
    self._only_controller_owner()
    self.unlockPeriod = _unlockPeriod
    log ParameterUpdate(param="unlockPeriod")


@external
def setTicketValidityPeriod(_ticketValidityPeriod: uint256):
    self._only_controller_owner()
    assert _ticketValidityPeriod > 0, "ticketValidityPeriod must be greater than 0"
    self.ticketValidityPeriod = _ticketValidityPeriod
    log ParameterUpdate(param="ticketValidityPeriod")


@external
def setController(_controller: address):
    assert msg.sender == self.controller.address, "caller must be Controller"
    self.controller = Controller(_controller)
    log SetController(controller=_controller)
