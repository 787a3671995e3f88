"""config.toml: every setting, its type and its default, and the errors that it can have."""

from monitor.config.hours import BusinessHoursConfig
from monitor.config.load import load
from monitor.config.persons import ExpectationConfig
from monitor.config.receivers import (
    ConsoleReceiver,
    EmailReceiver,
    FilesReceiver,
    ReceiverConfig,
    SlackReceiver,
    SlackWebhookReceiver,
    WebhookReceiver,
)
from monitor.config.secret import LONGEST_SECRET, Secret
from monitor.config.settings import Config, Database, RouteConfig
from monitor.config.sources import (
    SOURCES,
    CapsConfig,
    ColumnNames,
    FileSource,
    LearnWorldsSource,
    PythonSource,
    ScimSource,
    SourceConfig,
    SqlSource,
    TableSource,
    TrutoSource,
    WatchedSource,
)

__all__ = [
    "LONGEST_SECRET",
    "SOURCES",
    "BusinessHoursConfig",
    "CapsConfig",
    "ColumnNames",
    "Config",
    "ConsoleReceiver",
    "Database",
    "EmailReceiver",
    "ExpectationConfig",
    "FileSource",
    "FilesReceiver",
    "LearnWorldsSource",
    "PythonSource",
    "ReceiverConfig",
    "RouteConfig",
    "ScimSource",
    "Secret",
    "SlackReceiver",
    "SlackWebhookReceiver",
    "SourceConfig",
    "SqlSource",
    "TableSource",
    "TrutoSource",
    "WatchedSource",
    "WebhookReceiver",
    "load",
]
