"""Who buys and what is sold: customers, products, prices, coupons, visits to the portal."""

from __future__ import annotations

from typing import Any

from tokentill.lab.stripe import form as f
from tokentill.lab.stripe import shapes, shapes_billing
from tokentill.lab.stripe.form import Form
from tokentill.lab.stripe.paying import check_amount
from tokentill.lab.stripe.refusals import Refused
from tokentill.lab.stripe.world import Object, World

INTERVALS = ("day", "week", "month", "year")
INTERVAL_COUNT_MAX = {"day": 1095, "week": 156, "month": 36, "year": 3}


class Goods:
    """Customers, products and prices of one world."""

    def __init__(self, world: World) -> None:
        self.world = world

    # ---- customers ---------------------------------------------------------------------------------------

    def customer(self, **values: Any) -> Object:
        """A new customer."""
        world = self.world
        found = world.add(shapes.customer(world.id("cus_", 14), world.now, **values))
        world.emit("customer.created", found)
        return found

    def create_customer(self, form: Form) -> Object:
        """POST /v1/customers."""
        names = ("email", "name", "phone", "description")
        return self.customer(metadata=f.metadata(form), **{name: f.text(form, name) for name in names})

    def update_customer(self, ident: str, form: Form) -> Object:
        """POST /v1/customers/:id."""
        found = self.world.get("customer", ident)
        told: Object = {name: f.text(form, name) or None for name in ("email", "name") if name in form}
        settings = f.table(form, "invoice_settings")
        if "default_payment_method" in settings:
            method = self.world.get("payment_method", settings["default_payment_method"])
            told["invoice_settings"] = {**found["invoice_settings"], "default_payment_method": method["id"]}
        marks = f.metadata(form, found["metadata"])
        self.world.change("customer.updated", found, metadata=marks, **told)
        return found

    def portal(self, form: Form) -> Object:
        """POST /v1/billing_portal/sessions."""
        customer = self.world.get("customer", f.needed(form, "customer"), "customer")
        world = self.world
        made = shapes.portal(
            world.id("bps_"), world.now, customer=customer["id"], return_url=f.text(form, "return_url")
        )
        return world.add(made)

    # ---- products and prices -----------------------------------------------------------------------------

    def create_product(self, form: Form) -> Object:
        """POST /v1/products."""
        world = self.world
        ident = f.text(form, "id") or world.id("prod_", 14)
        if ident in world.index:
            raise Refused("Product already exists.", code="resource_already_exists", param="id")
        made = shapes_billing.product(
            ident,
            world.now,
            name=f.needed(form, "name"),
            description=f.text(form, "description"),
            metadata=f.metadata(form),
        )
        world.emit("product.created", world.add(made))
        return made

    def update_product(self, ident: str, form: Form) -> Object:
        """POST /v1/products/:id."""
        found = self.world.get("product", ident)
        values: Object = {"metadata": f.metadata(form, found["metadata"]), "updated": self.world.now}
        if "name" in form:
            values["name"] = f.needed(form, "name")
        if "active" in form:
            values["active"] = f.flag(form, "active")
        self.world.change("product.updated", found, **values)
        return found

    def create_price(self, form: Form, within: str = "") -> Object:
        """POST /v1/prices, and prices that are made inline with something else."""
        world = self.world
        currency = f.needed(form, "currency", within)
        amount = f.whole(form, "unit_amount")
        if amount is None:
            raise Refused(
                "Missing required param: unit_amount.", param="unit_amount", code="parameter_missing"
            )
        if amount < 0 and within != "add_invoice_items":
            raise Refused("Invalid non-negative integer", param="unit_amount")
        check_amount(abs(amount), currency, free=True)
        if "product_data" in form:
            product = self.create_product(f.table(form, "product_data"))
        else:
            product = world.get("product", f.needed(form, "product", within), "product")
        key = f.text(form, "lookup_key")
        if key is not None:
            self._take_key(key, transfer=f.flag(form, "transfer_lookup_key"))
        often = f.table(form, "recurring")
        made = shapes_billing.price(
            world.id("price_"),
            world.now,
            amount,
            currency,
            product=product["id"],
            lookup_key=key,
            metadata=f.metadata(form),
            recurring=_recurring(often) if often else None,
            type="recurring" if often else "one_time",
        )
        world.emit("price.created", world.add(made))
        return made

    def _take_key(self, key: str, *, transfer: bool) -> None:
        for price in self.world.all("price"):
            if price["lookup_key"] == key and price["active"]:
                if not transfer:
                    raise Refused(
                        f"A price (`{price['id']}`) already uses that lookup key.", param="lookup_key"
                    )
                self.world.change("price.updated", price, lookup_key=None)

    def update_price(self, ident: str, form: Form) -> Object:
        """POST /v1/prices/:id."""
        found = self.world.get("price", ident)
        values: Object = {"metadata": f.metadata(form, found["metadata"])}
        if "active" in form:
            values["active"] = f.flag(form, "active")
        self.world.change("price.updated", found, **values)
        return found

    def prices(self, form: Form) -> list[Object]:
        """GET /v1/prices."""
        found = self.world.all("price")
        keys = f.words(form, "lookup_keys")
        if len(keys) > 10:
            raise Refused("At most ten lookup keys.", param="lookup_keys")
        if keys:
            found = [price for price in found if price["lookup_key"] in keys]
        if "active" in form:
            found = [price for price in found if price["active"] is f.flag(form, "active")]
        if "product" in form:
            found = [price for price in found if price["product"] == form["product"]]
        return found

    def price_of(self, line: Form, within: str) -> Object:
        """The price of a line: one that is there, or one made inline."""
        if "price" in line:
            found = self.world.get("price", f.needed(line, "price", within), f"{within}[0][price]")
            if not found["active"]:
                raise Refused(f"The price specified is inactive: {found['id']}.", param="price")
            return found
        if "price_data" not in line:
            raise Refused(f"Missing required param: {within}[0][price].", code="parameter_missing")
        return self.create_price(f.table(line, "price_data"), within)

    # ---- coupons -----------------------------------------------------------------------------------------

    def create_coupon(self, form: Form) -> Object:
        """POST /v1/coupons; amounts off only, once."""
        world = self.world
        if f.choice(form, "duration", ("once",), "once") != "once" or "percent_off" in form:
            raise Refused("This lab knows coupons of an amount, once.", status=501, kind="api_error")
        made = shapes_billing.coupon(
            f.text(form, "id") or world.id("", 8),
            world.now,
            amount_off=f.whole(form, "amount_off", least=1),
            currency=f.needed(form, "currency"),
            max_redemptions=f.whole(form, "max_redemptions", least=1),
            name=f.text(form, "name"),
            metadata=f.metadata(form),
        )
        world.emit("coupon.created", world.add(made))
        return made

    def redeem(self, discounts: list[Form]) -> Object | None:
        """The coupon of a request, which must still be good."""
        if not discounts:
            return None
        coupon = self.world.get("coupon", f.needed(discounts[0], "coupon", "discounts[0]"), "discounts")
        if not coupon["valid"]:
            raise Refused(f"Coupon {coupon['id']} has been used too often.", code="coupon_expired")
        return coupon


def _recurring(form: Form) -> Object:
    interval = f.choice(form, "interval", INTERVALS)
    if interval is None:
        raise Refused("Missing required param: recurring[interval].", code="parameter_missing")
    count = f.whole(form, "interval_count", 1, least=1) or 1
    if count > INTERVAL_COUNT_MAX[interval]:
        raise Refused("The interval is longer than three years.", param="recurring[interval_count]")
    return shapes_billing.recurring(interval, count)
