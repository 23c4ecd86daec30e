"""How many orders the journal holds that no drainer has written yet.

https://etcd.io/docs/v3.4/dev-guide/api_reference_v3/ (service KV, Range)
"""

import base64

import msgspec

from standfest.clients.asking import UnreachableError
from standfest.emergency.drills.faults import FaultFailed
from standfest.emergency.drills.stage import Stage

ENTRIES = (b"standfest/o/", b"standfest/o0")
"""The range of keys under which the journal keeps entries."""


class _Counted(msgspec.Struct, frozen=True):
    count: str = "0"


async def backlog(stage: Stage) -> int:
    """Entries in the journal, read through its quorum; FaultFailed where no member can say."""
    first, last = (base64.b64encode(key).decode() for key in ENTRIES)
    body = msgspec.json.encode({"key": first, "range_end": last, "count_only": True})
    for node in stage.cluster.topology.nodes:
        asked = stage.cluster.journal(node)
        try:
            answer = await asked.asker.ask("POST", f"https://{asked.address}/v3/kv/range", body=body, tls=asked.tls)
            if answer.status == 200:
                return int(msgspec.json.decode(answer.body, type=_Counted).count)
        except (UnreachableError, msgspec.MsgspecError):
            continue
    raise FaultFailed("no member of the journal says how many orders wait in it: see `standfest doctor`")
