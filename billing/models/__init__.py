"""The rows of the money, a room a subject."""

from billing.models.bank import BankLine, BankTransfer
from billing.models.books import Journal, LedgerAccount, Transfer, Wallet, WalletEntry
from billing.models.budgets import Budget
from billing.models.cards import AutoRecharge, CardSetup, SavedCard
from billing.models.disputes import Dispute, FraudWarning
from billing.models.documents import Document, DocumentCounter, DocumentFile, DocumentKind, DocumentMail, LegalEntity
from billing.models.fraud import FraudCheck, FraudSignal
from billing.models.grants import Grant, GrantUse
from billing.models.profiles import BillingProfile, TaxIdCheck, TaxIdKind, TaxIdState
from billing.models.provider import (
    BalanceTransaction,
    Payout,
    ProviderCursor,
    ProviderJournal,
    StripeEvent,
    TieOut,
)
from billing.models.refunds import Refund, RefundPart
from billing.models.taxes import TaxMode, TaxRecord, TaxRegistration, TopUpTax
from billing.models.top_ups import FxRate, ProviderCustomer, TopUp
from billing.models.usage import EthUsdRate, Markup, Usage

__all__ = [
    "AutoRecharge",
    "BalanceTransaction",
    "BankLine",
    "BankTransfer",
    "BillingProfile",
    "Budget",
    "CardSetup",
    "Dispute",
    "Document",
    "DocumentCounter",
    "DocumentFile",
    "DocumentKind",
    "DocumentMail",
    "EthUsdRate",
    "FraudCheck",
    "FraudSignal",
    "FraudWarning",
    "FxRate",
    "Grant",
    "GrantUse",
    "Journal",
    "LedgerAccount",
    "LegalEntity",
    "Markup",
    "Payout",
    "ProviderCursor",
    "ProviderCustomer",
    "ProviderJournal",
    "Refund",
    "RefundPart",
    "SavedCard",
    "StripeEvent",
    "TaxIdCheck",
    "TaxIdKind",
    "TaxIdState",
    "TaxMode",
    "TaxRecord",
    "TaxRegistration",
    "TieOut",
    "TopUp",
    "TopUpTax",
    "Transfer",
    "Usage",
    "Wallet",
    "WalletEntry",
]
