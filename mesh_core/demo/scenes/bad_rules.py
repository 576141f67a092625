"""Two bad rules: one that anybody can see is wrong, and one that only the sidecar can find out. Neither harms anything."""

from mesh_core.lab import LabError, ports

from ..objects import COLLIDING_LINE, MISSPELT, MISSPELT_LINE, colliding
from ..scene import Play, Promise, Scene


class BadRules(Scene):
    name = "bad rules"
    title = "A misspelt rule, and a listener on an address in use"

    async def act(self, play: Play) -> None:
        self.refusal = await _refusal(play)
        play.tell(f"$ midstream apply -f {MISSPELT.file}    {self.refusal.splitlines()[-1]}")
        with ports.occupied() as port:
            rule = colliding(port)
            await play.stage.control.apply(rule)
            self.verdict = await play.stage.control.verdict(rule)
            self.others = [found for found in (await play.stage.control.states()).values() if found["name"] != rule.name]
            place = "{file}:{line}".format_map(self.verdict)
            play.tell(f"$ midstream status    {self.verdict['state']} {place}: {self.verdict['reason']}")
            self.place_is_right = place == f"{rule.file}:{COLLIDING_LINE}"
            await play.withdraw(rule)

    async def promises(self, play: Play) -> list[Promise]:
        holding = sum(found["state"] == "ACKED" for found in self.others)
        return [
            Promise("the misspelt one was refused with file and line", f"{MISSPELT.file}:{MISSPELT_LINE}" in self.refusal),
            Promise("the other was refused by the sidecar, blamed on file and line", self.verdict["state"] == "NACKED" and self.place_is_right),
            Promise("all other objects stayed in force", holding == len(self.others) > 0, f"{holding} objects"),
        ]


async def _refusal(play: Play) -> str:
    try:
        await play.stage.control.apply(MISSPELT)
    except LabError as refused:
        return str(refused)
    return "it was accepted"
