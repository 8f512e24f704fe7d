"""Actions on the settings of the chat and on the settings file."""

from __future__ import annotations

from rstitch_local import paths
from rstitch_local.errors import InputError
from rstitch_local.routing.spec import tau_of_spec
from rstitch_local.sanitize import one_line
from rstitch_tui import app_settings
from rstitch_tui.chat_host import ChatHost
from rstitch_tui.chat_settings import ChatSettings, stop_strings_as_arguments

_LEAST_TAU = 0.0005


def change(host: ChatHost, **fields: object) -> None:
    """Change settings of the chat and show the new values."""
    host.session.change(**fields)
    host.show_settings()
    for name, value in fields.items():
        host.notice(f"{name}: {_value_text(value)}")


def show_or_change(host: ChatHost, field: str, text: str) -> None:
    """Change a text setting; "" shows its value, "auto" resets it."""
    if text:
        change(host, **{field: text if text != "auto" else ChatSettings.model_fields[field].default})
    else:
        value = getattr(host.session.settings, field)
        host.notice(f"{field}: {_value_text(value)}. The argument auto resets it.")


def _value_text(value: object) -> str:
    if isinstance(value, tuple):
        value = stop_strings_as_arguments(value)
    if isinstance(value, bool):
        return "on" if value else "off"
    return "pair's default" if value is None else one_line(value, 60) or "none"


def open_form(host: ChatHost) -> None:
    """Show all settings of the chat in one form."""

    def done(fields: dict[str, object] | None) -> None:
        if fields:
            with host.errors_shown():
                host.session.change(**fields)
            host.show_settings()

    host.dialogs.open_chat_settings(done)


def set_tau(host: ChatHost, tau: float) -> None:
    """Change the threshold, from the next token on; raises UsageError if it is out of range."""
    try:
        host.session.set_tau(tau)
    finally:
        # The threshold changes even if saving the settings fails.
        host.show_settings()


def reset_tau(host: ChatHost) -> None:
    """Restore the pair's own tau; a router that has no tau of the pair's is replaced by the pair's router."""
    tau = tau_of_spec(host.session.defaults.router)
    if tau is None or host.session.settings.router is None:
        change(host, router=None)
    else:
        set_tau(host, tau)
    host.notice(f"router: {host.session.router}")


def multiply_tau(host: ChatHost, factor: float) -> None:
    """Multiply the threshold."""
    tau = host.session.tau
    if tau is None:
        raise InputError(
            "Router without tau", f"The router {host.session.router} has no threshold.", "Set one with /tau 0.02."
        )
    set_tau(host, float(f"{min(1.0, max(_LEAST_TAU, tau * factor)):.2g}"))


def write_settings_file(host: ChatHost) -> None:
    """Create the settings file with every field explained, unless it exists, and show its path."""
    path = paths.settings_file()
    created = app_settings.write_template(path)
    host.notice(f"{'Written' if created else 'Exists already'}: {path}", seconds=10)
