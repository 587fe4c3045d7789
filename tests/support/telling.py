"""A shop whose clerk tells of what happens, by real e-mail and real webhooks: what tests of messages share."""

import json
import secrets
from email.message import EmailMessage

from tests.support.post import PostOffice, Receiver
from tests.support.shops import World
from tests.support.stores import SECRET, ok
from tokentill.flows.notices import Notices, Posting
from tokentill.rules import commands as c
from tokentill.rules.refusals import Refusal
from tokentill.rules.rows import Contact, Endpoint, Message
from tokentill.vendors.mail import SmtpMail
from tokentill.vendors.outbound import HttpOutbound
from tokentill.vendors.sealing import AesSeal


class Telling:
    """A shop whose clerk tells of everything."""

    def __init__(self, world: World, office: PostOffice, hook: Receiver) -> None:
        self.world, self.office, self.hook = world, office, hook
        self.outbound = HttpOutbound(private=True)
        mail = SmtpMail(office.url, "till@shop.test", "Goals", world.clock)
        seal = AesSeal(SECRET, "webhooks", secrets.token_bytes)
        self.posting = Posting(mail, self.outbound, seal)
        world.shop = world.open(posting=self.posting)
        assert world.shop.notices is not None
        self.notices: Notices = world.shop.notices

    async def write_to(
        self, email: str = "ann@acme.test", quiet: tuple[str, ...] = (), organization: str = "acme"
    ) -> None:
        assert isinstance(await self.notices.set_contact(organization, email, "Ann", quiet), Contact)

    async def call(self, organization: str = "acme", events: tuple[str, ...] = ()) -> tuple[Endpoint, str]:
        added = await self.notices.add_endpoint(organization, self.hook.url, events)
        assert not isinstance(added, Refusal)
        return added

    async def buy(self) -> None:
        world = self.world
        ordered = await world.place(world.order("acme"))
        await world.tell(*world.provider.pay(ordered.checkout or ""))
        await world.settle()
        await world.follow()

    async def spend(self, tokens: int) -> None:
        await ok(self.world.ledger, "acme", c.Adjust(tokens=-tokens, reason="spent", actor="test"))
        await self.world.follow()

    def types(self) -> list[str]:
        return [json.loads(body)["type"] for _, body in self.hook.got]

    async def states(self) -> list[tuple[str, str, int]]:
        found = await self.world.rows.find(Message, {}, limit=1000)
        return sorted((row.channel, row.state, row.tries) for row in found)


def plain(message: EmailMessage) -> str:
    part = message.get_body(("plain",))
    assert part is not None
    return str(part.get_content())
