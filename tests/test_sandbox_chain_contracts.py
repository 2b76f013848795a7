"""The committed sandbox contracts: made from their sources, and with the live protocol's selectors and topics."""

import hashlib
from typing import Any

import pytest
from sha3 import keccak_256

from sandbox.chain.compile import compiled
from sandbox.chain.contracts import FOLDER, NAMES, contract

# Selectors and topics of the protocol on Arbitrum One: a client of that must find the same here.
SELECTORS = {
    "TicketBroker": {
        "fundDeposit": "6caa736b",
        "fundReserve": "6f9c3c8f",
        "fundDepositAndReserve": "511f4073",
        "fundDepositAndReserveFor": "989f789c",
        "unlock": "a69df4b5",
        "cancelUnlock": "c2c4c2c8",
        "withdraw": "3ccfd60b",
        "redeemWinningTicket": "ec8b3cb6",
        "batchRedeemWinningTickets": "d01b808e",
        "getSenderInfo": "e1a589da",
        "getReserveInfo": "5b6333eb",
        "claimableReserve": "81779f38",
        "claimedReserve": "4ac826da",
        "isUnlockInProgress": "121cdcc2",
        "getTicketHash": "b03fa864",
        "usedTickets": "59a515ba",
        "unlockPeriod": "20d3a0b4",
        "ticketValidityPeriod": "856a2cf8",
        "controller": "f77c4791",
        "targetContractId": "51720b41",
        "setUnlockPeriod": "3d0ddf84",
        "setTicketValidityPeriod": "c9297808",
        "setController": "92eefe9b",
    },
    "Controller": {
        "getContract": "e16c7d98",
        "getContractInfo": "613e2de2",
        "paused": "5c975abb",
        "owner": "8da5cb5b",
        "setContractInfo": "d737c2b0",
        "pause": "8456cb59",
        "unpause": "3f4ba83a",
        "transferOwnership": "f2fde38b",
        "updateController": "eb5dd94f",
    },
    "RoundsManager": {
        "currentRound": "8a19c8bc",
        "currentRoundInitialized": "219bc76c",
        "currentRoundLocked": "6841f253",
        "currentRoundStartBlock": "8fa148f2",
        "lastInitializedRound": "8807f36e",
        "blockHashForRound": "3aa4add4",
        "roundLength": "8b649b94",
        "roundLockAmount": "f5b490d5",
        "blockNum": "8ae63d6d",
        "blockHash": "85df51fd",
        "lastRoundLengthUpdateRound": "0fe1dfa8",
        "lastRoundLengthUpdateStartBlock": "668abff7",
        "lipUpgradeRound": "1e6d4c22",
        "initializeRound": "d4807fb2",
        "setRoundLength": "681312f5",
        "setRoundLockAmount": "0b1573b8",
    },
    "BondingManager": {
        "isActiveTranscoder": "08802374",
        "isRegisteredTranscoder": "68ba170c",
        "getTranscoderPoolSize": "2a4e0d55",
        "getTranscoderPoolMaxSize": "5a2a75a9",
        "getFirstTranscoderInPool": "88a6c749",
        "getNextTranscoderInPool": "235c9603",
        "getTranscoder": "5dce9948",
        "transcoderTotalStake": "9ef9df94",
        "pendingFees": "f595f1cc",
        "withdrawFees": "ad3b1b47",
        "updateTranscoderWithFees": "3aeb512c",
    },
    "ServiceRegistry": {"getServiceURI": "214c2a4b", "setServiceURI": "5f11301b"},
    "Minter": {"depositETH": "f6326fb3", "trustedWithdrawETH": "20283da9"},
    "PriceFeed": {
        "latestRoundData": "feaf968c",
        "decimals": "313ce567",
        "description": "7284e416",
        "version": "54fd4d50",
        "getRoundData": "9a6fc8f5",
    },
}
TOPICS = {
    "TicketBroker": {
        "DepositFunded": "5159e237d952190e68d5215430f305831be7c9c8776d1377c76679ae4773413f",
        "ReserveFunded": "b52b99b9e83551fcbd069b559cc3e823e2a1a3bad8ece46561ea77524394c850",
        "ReserveClaimed": "5c2b394723f408a40a60335e24b71829642e35f350cebe2036a96a66e895ea98",
        "WinningTicketTransfer": "8b87351a208c06e3ceee59d80725fd77a23b4129e1b51ca231fc89b40712649c",
        "WinningTicketRedeemed": "c389eb51ed006dbf2528507f010efdf5225ea596e1e1741d74f550dab1925ee7",
        "Unlock": "f7870c5b224cbc19873599e46ccfc7103934650509b1af0c3ce90138377c2004",
        "UnlockCancelled": "fa044b7b93a40365dc68049797c2eb06918523d694e5d56e406cac3eb35578e5",
        "Withdrawal": "df273cb619d95419a9cd0ec88123a0538c85064229baa6363788f743fff90deb",
        "ParameterUpdate": "9f5033568d78ae30f29f01e944f97b2216493bd19d1b46d429673acff3dcd674",
        "SetController": "4ff638452bbf33c012645d18ae6f05515ff5f2d1dfb0cece8cbf018c60903f70",
    },
    "Controller": {
        "SetContractInfo": "f9a6cf519167d81bc5cb3d26c60c0c9a19704aa908c148e82a861b570f4cd2d7",
        "Pause": "6985a02210a168e66602d3235cb6db0e70f92b3ba4d376a33c0f3d9434bff625",
        "Unpause": "7805862f689e2f13df9f062ff482ad3ad112aca9e0847911ed832e158c525b33",
    },
    "RoundsManager": {"NewRound": "22f2fc17c5daf07db2379b3a03a8ef20a183f761097a58fce219c8a14619e786"},
    "BondingManager": {
        "TranscoderActivated": "65d72d782835d64c3287844a829608d5abdc7e864cc9affe96d910ab3db665e9",
        "TranscoderDeactivated": "fee3e693fc72d0a0a673805f3e606c551f4c677b9072444b90dd2d0406bc995c",
        "WithdrawFees": "4f1b51dd7a2fcb861aa2670f668be66835c4ee12b4bbbf037e4d0018f39819e4",
    },
    "ServiceRegistry": {"ServiceURIUpdate": "fbb63068732c85741c9f8e61caffaabe038d577bfafd2d2dcc0e352a4f653a4c"},
    "PriceFeed": {"AnswerUpdated": "0559884fd3a460db3073b7fc896cc77986f16e378210ded43186175bf646fc5f"},
}
INDEXED = {
    "DepositFunded": ["sender"],
    "ReserveFunded": ["reserveHolder"],
    "ReserveClaimed": ["reserveHolder"],
    "WinningTicketTransfer": ["sender", "recipient"],
    "WinningTicketRedeemed": ["sender", "recipient"],
    "Unlock": ["sender"],
    "UnlockCancelled": ["sender"],
    "Withdrawal": ["sender"],
    "SetContractInfo": [],
    "NewRound": ["round"],
    "TranscoderActivated": ["transcoder"],
    "TranscoderDeactivated": ["transcoder"],
    "WithdrawFees": ["delegator"],
    "ServiceURIUpdate": ["addr"],
}


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_bytecode_is_what_the_source_compiles_to(name: str) -> None:
    committed = (FOLDER / f"{name}.json").read_bytes()
    assert hashlib.sha256(compiled(name).encode()).hexdigest() == hashlib.sha256(committed).hexdigest()


def _signature(entry: dict[str, Any]) -> str:
    def kind(item: dict[str, Any]) -> str:
        if not item["type"].startswith("tuple"):
            return str(item["type"])
        return f"({','.join(map(kind, item['components']))}){item['type'].removeprefix('tuple')}"

    return f"{entry['name']}({','.join(map(kind, entry['inputs']))})"


@pytest.mark.parametrize("name", SELECTORS)
def test_selectors_topics_and_indexed_arguments_are_the_live_protocols(name: str) -> None:
    digests = {
        (entry["type"], entry["name"]): keccak_256(_signature(entry).encode()).hexdigest()
        for entry in contract(name).abi
        if entry["type"] != "constructor"
    }
    assert {function: digests["function", function][:8] for function in SELECTORS[name]} == SELECTORS[name]
    topics = TOPICS.get(name, {})
    assert {event: digests["event", event] for event in topics} == topics
    for entry in contract(name).abi:
        if entry["type"] == "event" and entry["name"] in INDEXED:
            assert [item["name"] for item in entry["inputs"] if item["indexed"]] == INDEXED[entry["name"]]
