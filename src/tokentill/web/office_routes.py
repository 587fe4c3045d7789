"""The office's part of the table of routes: what an operator does about sales."""

from __future__ import annotations

from tokentill.rules.refusals import Code
from tokentill.web import office
from tokentill.web import office_views as views
from tokentill.web import shop_bodies as bodies
from tokentill.web.route import ORG
from tokentill.web.shop_routes import trade

_NONE = (Code.NOT_POSSIBLE,)

OFFICE = (
    trade("POST", "/v1/codes", "createCodes", "Make redemption codes; they are shown this once",
          office.create_codes, views.NewCodes, Code.KEY_REUSED, body=bodies.CodesBody, status=201),
    trade("GET", "/v1/codes", "listCodes", "Redemption codes without what they are written as",
          office.codes, views.CodeList, query=bodies.CodesQuery),
    trade("DELETE", "/v1/codes/{code}", "revokeCode", "Withdraw a code that was not redeemed yet",
          office.revoke_code, views.CodeView, Code.CODE_INVALID, *_NONE),
    trade("GET", "/v1/switches", "listSwitches", "What is sold at the moment and what is stopped",
          office.switches, views.SwitchList),
    trade("PUT", "/v1/switches", "turnSwitch", "Stop selling something at once, or begin again",
          office.turn_switch, views.SwitchView, body=bodies.SwitchBody),
    trade("GET", "/v1/alerts", "listAlerts", "What an operator should look at",
          office.alerts, views.AlertList, query=bodies.AlertsQuery),
    trade("POST", "/v1/alerts/{alert}/seen", "seeAlert", "Somebody has looked at it",
          office.see_alert, views.AlertView, *_NONE),
    trade("GET", "/v1/events", "listEvents", "Events of payment providers by how they stand",
          office.events, views.EventList, query=bodies.EventsQuery),
    trade("POST", "/v1/events/{event}/retry", "retryEvent", "Try an event once more, also one that was given up",
          office.retry_event, views.EventView, *_NONE),
    trade("GET", f"{ORG}/contact", "getContact", "Where the organization gets its e-mail",
          office.contact, views.ContactView, *_NONE),
    trade("PUT", f"{ORG}/contact", "setContact", "Say where the organization gets its e-mail",
          office.set_contact, views.ContactView, *_NONE, body=bodies.ContactBody),
    trade("DELETE", f"{ORG}/contact", "forgetContact", "Erase the address",
          office.forget_contact, views.Removed, *_NONE),
    trade("GET", "/v1/webhook-endpoints", "listEndpoints", "Addresses that are told of every organization",
          office.endpoints, views.EndpointList, *_NONE),
    trade("POST", "/v1/webhook-endpoints", "addEndpoint", "Add one; its secret is shown this once",
          office.add_endpoint, views.NewEndpoint, *_NONE, Code.KEY_REUSED, body=bodies.EndpointBody, status=201),
    trade("DELETE", "/v1/webhook-endpoints/{endpoint}", "removeEndpoint", "Remove one",
          office.drop_endpoint, views.Removed, *_NONE),
    trade("GET", f"{ORG}/webhook-endpoints", "listOwnEndpoints", "Addresses that are told of this organization",
          office.endpoints, views.EndpointList, *_NONE),
    trade("POST", f"{ORG}/webhook-endpoints", "addOwnEndpoint", "Add one; its secret is shown this once",
          office.add_endpoint, views.NewEndpoint, *_NONE, Code.KEY_REUSED, body=bodies.EndpointBody, status=201),
    trade("DELETE", f"{ORG}/webhook-endpoints/{{endpoint}}", "removeOwnEndpoint", "Remove one",
          office.drop_endpoint, views.Removed, *_NONE),
    trade("GET", "/v1/operator-messages", "listMessages", "E-mails and webhooks by how they stand",
          office.messages, views.MessageList, *_NONE, query=bodies.MessagesQuery),
    trade("POST", "/v1/operator-messages/{message}/send", "sendMessage", "Try a message once more from the beginning",
          office.send_message, views.MessageView, *_NONE),
)  # fmt: skip
