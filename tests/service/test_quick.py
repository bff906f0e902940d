def test_quick(client, shop):
    for path in ("/healthz","/readyz","/v1/version","/v1/status","/metrics","/openapi.json","/v1/recommend?user=u1&k=3","/v1/similar?item=i3&k=3","/v1/search?text=red&k=2","/v1/trending?k=2","/v1/explain?user=u1&item=i3","/v1/profile?user=u1&k=3","/v1/items?item=i3","/v1/items/page?limit=3","/v1/users?user=u1","/v1/feedback","/nope","/v1/recommend","/v1/similar?item=zzz"):
        r=client.get(path); print(path, r.status_code, dict(r.headers) if 'user=u1&k' in path else '', r.text[:300])
    r=client.post("/v1/events", json={"user":"u1","item":"i5","kind":"view","timestamp":1710000000}); print(r.status_code, r.text)
    r=client.post("/v1/events", json=[{"user":"u1","item":"i5","kind":"view","timestamp":1710000000},{"user":"u1"}]); print(r.status_code, r.text)
    r=client.post("/v1/events", content=b"x"*5_000_000); print(r.status_code, r.text)
    r=client.put("/v1/items", json={"id":"i77","text":"red garden pot"}); print(r.status_code, r.text)
    r=client.delete("/v1/items?item=i77"); print(r.status_code, r.text)
    r=client.post("/v1/recommend", json={"user":"zz","session":["i1",{"item":"i3"}],"k":3}); print(r.status_code, r.text[:300])
    r=client.post("/v1/recommend/batch", json={"users":["u1","u2"],"k":2}); print(r.status_code, r.text[:300])
