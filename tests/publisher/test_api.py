"""The publisher's HTTP: what is answered to whom, and that a refused request changes nothing."""

from typing import Any


async def test_smoke(author: Any, workshop: Any) -> None:
    """x."""
    import time
    r = await author.put(workshop.document())
    print(r.status, r.body, r.headers)
    r = await author.get()
    print(r.status, r.body[:300], r.headers)
    r = await author.put(workshop.document())
    print(r.status, r.body, r.headers)
    r = await author.put(workshop.document(), If_Match='"1"')
    print(r.status, r.body, r.headers)
    rev=1; ts=[]
    for i in range(200):
        t=time.perf_counter()
        r = await author.put(workshop.document(poll_after=i), If_Match=f'"{rev}"')
        ts.append(time.perf_counter()-t)
        assert r.status==200
        rev=r.json["revision"]
    ts.sort(); print("median ms", ts[100]*1e3, ts[-1]*1e3)
    assert 0
