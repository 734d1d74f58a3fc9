"""Ways to tell people."""

from tocsin.alerts.channels.mail import Mail
from tocsin.alerts.channels.terminal import Terminal
from tocsin.alerts.channels.webhook import Webhook, sign, verify_signature

__all__ = ["Mail", "Terminal", "Webhook", "sign", "verify_signature"]
