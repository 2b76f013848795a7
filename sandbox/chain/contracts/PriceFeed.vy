# pragma version 0.4.3
# pragma evm-version cancun
"""
An ETH / USD aggregator with 8 decimals, read like the live chain's price feed.
Its answers come from the owner (sandboxSetAnswer); anybody may repeat the last answer with a fresh time (sandboxRefresh).
"""

event AnswerUpdated:
    current: indexed(int256)
    roundId: indexed(uint256)
    updatedAt: uint256

struct Answer:
    answer: int256
    updatedAt: uint256

# Round ids carry a phase in their upper 16 bits, so they do not fit 64-bit arithmetic.
PHASE: constant(uint256) = 1 << 64

owner: public(address)
last_round: uint256
answers: HashMap[uint256, Answer]


@deploy
def __init__(_answer: int256):
    self.owner = msg.sender
    self._write(_answer, block.timestamp)


@internal
def _write(_answer: int256, _updatedAt: uint256):
    self.last_round += 1
    self.answers[self.last_round] = Answer(answer=_answer, updatedAt=_updatedAt)
    log AnswerUpdated(current=_answer, roundId=self.last_round, updatedAt=_updatedAt)


@internal
@view
def _round_data(_round: uint256) -> (uint80, int256, uint256, uint256, uint80):
    stored: Answer = self.answers[_round]
    round_id: uint80 = convert(PHASE + _round, uint80)
    return round_id, stored.answer, stored.updatedAt, stored.updatedAt, round_id


@external
@view
def latestRoundData() -> (uint80, int256, uint256, uint256, uint80):
    return self._round_data(self.last_round)


@external
@view
def getRoundData(_roundId: uint80) -> (uint80, int256, uint256, uint256, uint80):
    round: uint256 = convert(_roundId, uint256)
    assert round > PHASE and round <= PHASE + self.last_round, "No data present"
    return self._round_data(round - PHASE)


@external
@pure
def decimals() -> uint8:
    return 8


@external
@pure
def description() -> String[9]:
    return "ETH / USD"


@external
@pure
def version() -> uint256:
    return 4


@external
def sandboxSetAnswer(_answer: int256, _updatedAt: uint256):
    """
    Publish an answer, also a wrong one (zero, negative) or an old one; _updatedAt 0 means now.
    """
    assert msg.sender == self.owner, "caller must be owner"
    self._write(_answer, block.timestamp if _updatedAt == 0 else _updatedAt)


@external
def sandboxRefresh():
    """
    Publish the last answer again with the time of this block.
    """
    self._write(self.answers[self.last_round].answer, block.timestamp)
