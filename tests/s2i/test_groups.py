"""test_groups.py - whose group new files have where the machine gives one group to all of them.

Touches  two builders of the module's own, with privileges and without.
Never    a server. Spec: s2i 16.3
"""
import io
import tarfile

from support import building, workshop
from support.workshop import done


def test_level_user_gives_the_group_of_the_folder(shop, user_shop):
    """s2i 16.3: what is made in a folder with the set-group-ID bit has its group, folders in it the bit as well."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        shared = building.entry("shared", tarfile.DIRTYPE, 0o2777, owner=7)
        shared.gid = 2000
        archive.addfile(shared)
    script = "#!/bin/sh\nset -e\ncd /shared; touch new; ln -s new link; mkdir deep plain; echo x > deep/file\n" \
             "chmod g-s plain; touch plain/file; mkdir /opt/app-root/src/beside; touch /opt/app-root/src/beside/file\n"
    image = workshop.builder_image(config={"User": "1001:1001"}, more=[stream.getvalue()])
    files = {".s2i/bin/assemble": script, ".s2i/bin/run": "#!/bin/sh\n"}
    by_root, by_user = done(shop.build(image, files)), done(user_shop.build(image, files))
    owners = [{name: (item[0].uid, item[0].gid, item[0].mode) for name, item in outcome.entries().items()}
              for outcome in (by_root, by_user)]
    assert owners[0] == owners[1]
    assert {name: owners[1][name][:2] for name in owners[1] if name.startswith(("shared", "opt/app-root/src/beside"))} == {
        "shared": (7, 2000), "opt/app-root/src/beside": (1001, 1001), "opt/app-root/src/beside/file": (1001, 1001),
        "shared/plain/file": (1001, 1001),
        **dict.fromkeys(("shared/new", "shared/link", "shared/deep", "shared/deep/file", "shared/plain"), (1001, 2000))}
    assert by_root.diff_id == by_user.diff_id
