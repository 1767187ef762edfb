"""test_matrix.py - who may do what: every route and method, asked by everybody with everything they could show.

Touches  two servers of its own: one lets strangers pull what is public, one does not. Nothing is changed: requests that
         would change something name what is not there, carry a stale If-Match, or are taken back.
Never    reads the program's own rules: what must come out stands in TABLE, written by hand.

What is asked comes from the server's table of routes (support/routes.c); a route that TABLE does not name fails, and so
does a row without its route. Sources: oci-distribution section 16, token-auth section 8, console-and-ops section 7.
"""
import contextlib
import json
import os
import pathlib
import subprocess
import time

import pytest

from support import content, people, plan, process, tokens, wire
from support.content import digest
from support.people import MAINTAIN, MANAGE, PUSH, READ, WRITE

PRIVATE, PUBLIC, MISSING, ELSEWHERE = "m/private", "m/public", "z/nothing", "n/other"
ABSENT = "sha256:" + "0" * 64
UPLOAD = "3f0f5a3e-0000-4000-8000-000000000000"

# Who asks, as the columns of TABLE. The first four show nothing, or a stranger's token; each pair is of a server that
# lets strangers pull nothing, and of one that lets them pull what is public.
COLUMNS = ("nobody", "nobody/pull", "stranger", "stranger/pull",
           "bare", "other",          # a user without a grant; with every right on another repository
           "read", "reads",          # with a grant on each repository; the same by prefix
           "write", "writes", "maintain", "maintains", "manage", "manages",
           "robot",                  # may push and nothing else
           "auditor", "operator", "chief",
           "chief-pull", "chief-api",  # an administrator's tokens, narrowed to pulling below m/; to the management API
           "gone",                   # disabled, with every right
           "socket")                 # by the admin socket

# +  goes through        -  known, but may not: 403; by an access token 401 insufficient_scope, for another may do
# 1  401: not known      ?  404 as if it were not there       0  404: there is no such thing for this caller
# A row that begins with "public" is the one above, on the public repository.
TABLE = """
GET|HEAD    /v2/                               11 ++ ++ ++ ++ ++ ++ + +++ ++ 1 0
GET|HEAD    /v2                                11 ++ ++ ++ ++ ++ ++ + +++ ++ 1 0
GET|HEAD    /v2/_catalog                       11 ++ ++ ++ ++ ++ ++ + +++ ++ 1 0
GET|HEAD    /v2/_oci/ext/discover              11 ++ ++ ++ ++ ++ ++ + +++ ++ 1 0
GET|HEAD    /v2/<name>/tags/list               11 -- -- ++ ++ ++ ++ - +-+ +- 1 0
                                       public  11 -+ ++ ++ ++ ++ ++ + +++ +- 1 0
GET         /v2/<name>/manifests/<reference>   11 -- -- ++ ++ ++ ++ - +-+ +- 1 0
                                       public  11 -+ ++ ++ ++ ++ ++ + +++ +- 1 0
HEAD        /v2/<name>/manifests/<reference>   11 -- -- ++ ++ ++ ++ + +-+ +- 1 0
                                       public  11 -+ ++ ++ ++ ++ ++ + +++ +- 1 0
PUT         /v2/<name>/manifests/<reference>   11 -- -- -- ++ ++ ++ + --+ -- 1 0
                                       public  11 -- -- -- ++ ++ ++ + --+ -- 1 0
DELETE      /v2/<name>/manifests/<reference>   11 -- -- -- -- ++ ++ - --+ -- 1 0
                                       public  11 -- -- -- -- ++ ++ - --+ -- 1 0
POST        /v2/<name>/blobs/uploads/          11 -- -- -- ++ ++ ++ + --+ -- 1 0
                                       public  11 -- -- -- ++ ++ ++ + --+ -- 1 0
POST        /v2/<name>/blobs/uploads           11 -- -- -- ++ ++ ++ + --+ -- 1 0
                                       public  11 -- -- -- ++ ++ ++ + --+ -- 1 0
PATCH       /v2/<name>/blobs/uploads/<id>      11 -- -- -- ++ ++ ++ + --+ -- 1 0
                                       public  11 -- -- -- ++ ++ ++ + --+ -- 1 0
PUT         /v2/<name>/blobs/uploads/<id>      11 -- -- -- ++ ++ ++ + --+ -- 1 0
                                       public  11 -- -- -- ++ ++ ++ + --+ -- 1 0
GET|HEAD    /v2/<name>/blobs/uploads/<id>      11 -- -- -- ++ ++ ++ + --+ -- 1 0
                                       public  11 -- -- -- ++ ++ ++ + --+ -- 1 0
DELETE      /v2/<name>/blobs/uploads/<id>      11 -- -- -- ++ ++ ++ + --+ -- 1 0
                                       public  11 -- -- -- ++ ++ ++ + --+ -- 1 0
GET         /v2/<name>/blobs/<digest>          11 -- -- ++ ++ ++ ++ - +-+ +- 1 0
                                       public  11 -+ ++ ++ ++ ++ ++ + +++ +- 1 0
HEAD        /v2/<name>/blobs/<digest>          11 -- -- ++ ++ ++ ++ + +-+ +- 1 0
                                       public  11 -+ ++ ++ ++ ++ ++ + +++ +- 1 0
DELETE      /v2/<name>/blobs/<digest>          11 -- -- -- -- ++ ++ - --+ -- 1 0
                                       public  11 -- -- -- -- ++ ++ - --+ -- 1 0
GET|HEAD    /v2/<name>/referrers/<digest>      11 -- -- ++ ++ ++ ++ - +-+ +- 1 0
                                       public  11 -+ ++ ++ ++ ++ ++ + +++ +- 1 0
GET         /token                             ++ 11 ++ ++ ++ ++ ++ + +++ ++ 1 0
POST        /token                             ++ 11 ++ ++ ++ ++ ++ + +++ ++ 1 0
GET|HEAD    /.well-known/jwks.json             ++ ++ ++ ++ ++ ++ ++ + +++ ++ + +

POST        /api/v1/session                    ++ 11 ++ ++ ++ ++ ++ + +++ ++ 1 +
GET|HEAD    /api/v1/session                    11 11 ++ ++ ++ ++ ++ + +++ -+ 1 +
DELETE      /api/v1/session                    ++ 11 ++ ++ ++ ++ ++ + +++ ++ 1 +
GET|HEAD    /api/v1/setup                      ++ 11 ++ ++ ++ ++ ++ + +++ ++ 1 +
POST        /api/v1/setup                      ++ 11 ++ ++ ++ ++ ++ + +++ ++ 1 +
GET|HEAD    /api/v1/keys                       ++ 11 ++ ++ ++ ++ ++ + +++ ++ 1 +
GET|HEAD    /api/v1/openapi.json               ++ 11 ++ ++ ++ ++ ++ + +++ ++ 1 +

GET|HEAD    /api/v1/me                         11 11 ++ ++ ++ ++ ++ + +++ -+ 1 0
PATCH       /api/v1/me                         11 11 ++ ++ ++ ++ ++ + +++ -+ 1 0
PUT         /api/v1/me/password                11 11 ++ ++ ++ ++ ++ + +++ -+ 1 +
GET|HEAD    /api/v1/me/tokens                  11 11 ++ ++ ++ ++ ++ + +++ -+ 1 0
POST        /api/v1/me/tokens                  11 11 ++ ++ ++ ++ ++ - +++ -+ 1 0
POST        /api/v1/me/tokens#everything       11 11 ++ ++ ++ ++ ++ - +++ -- 1 0
GET|HEAD    /api/v1/me/tokens/<id>             11 11 ++ ++ ++ ++ ++ + +++ -+ 1 ?
POST        /api/v1/me/tokens/<id>:rotate      11 11 ++ ++ ++ ++ ++ + +++ -+ 1 ?
DELETE      /api/v1/me/tokens/<id>             11 11 ++ ++ ++ ++ ++ + +++ -+ 1 ?
GET|HEAD    /api/v1/me/tokens/<id>#another     11 11 ?? ?? ?? ?? ?? ? ??? -? 1 ?
POST        /api/v1/me/tokens/<id>:rotate#another  11 11 ?? ?? ?? ?? ?? ? ??? -? 1 ?
DELETE      /api/v1/me/tokens/<id>#another     11 11 ?? ?? ?? ?? ?? ? ??? -? 1 ?
GET|HEAD    /api/v1/me/sessions                11 11 ++ ++ ++ ++ ++ + +++ -+ 1 0
DELETE      /api/v1/me/sessions/<id>           11 11 ?? ?? ?? ?? ?? ? ??? -? 1 ?

GET|HEAD    /api/v1/users                      11 11 -- -- -- -- -- - --+ -+ 1 +
POST        /api/v1/users                      11 11 -- -- -- -- -- - --+ -+ 1 +
GET|HEAD    /api/v1/users/<account>            11 11 -- -- -- -- -- - --+ -+ 1 +
PATCH       /api/v1/users/<account>            11 11 -- -- -- -- -- - --+ -+ 1 +
DELETE      /api/v1/users/<account>            11 11 -- -- -- -- -- - --+ -+ 1 +
POST        /api/v1/users/<account>:disable    11 11 -- -- -- -- -- - --+ -+ 1 +
POST        /api/v1/users/<account>:enable     11 11 -- -- -- -- -- - --+ -+ 1 +
GET|HEAD    /api/v1/users/<account>/tokens     11 11 -- -- -- -- -- - --+ -+ 1 +
GET|HEAD    /api/v1/users/<account>/sessions   11 11 -- -- -- -- -- - --+ -+ 1 +
DELETE      /api/v1/users/<account>/sessions   11 11 -- -- -- -- -- - --+ -+ 1 +
GET|HEAD    /api/v1/robots                     11 11 -- -- -- -- -- - --+ -+ 1 +
POST        /api/v1/robots                     11 11 -- -- -- -- -- - --+ -+ 1 +
GET|HEAD    /api/v1/robots/<account>           11 11 -- -- -- -- -- - --+ -+ 1 +
PATCH       /api/v1/robots/<account>           11 11 -- -- -- -- -- - --+ -+ 1 +
DELETE      /api/v1/robots/<account>           11 11 -- -- -- -- -- - --+ -+ 1 +
POST        /api/v1/robots/<account>:disable   11 11 -- -- -- -- -- - --+ -+ 1 +
POST        /api/v1/robots/<account>:enable    11 11 -- -- -- -- -- - --+ -+ 1 +
POST        /api/v1/robots/<account>:rotate    11 11 -- -- -- -- -- - --+ -- 1 +
GET|HEAD    /api/v1/robots/<account>/tokens    11 11 -- -- -- -- -- - --+ -+ 1 +
POST        /api/v1/robots/<account>/tokens    11 11 -- -- -- -- -- - --+ -+ 1 +
GET|HEAD    /api/v1/tokens                     11 11 -- -- -- -- -- - --+ -+ 1 +
GET|HEAD    /api/v1/tokens/<id>                11 11 -- -- -- -- -- - --+ -+ 1 +
DELETE      /api/v1/tokens/<id>                11 11 -- -- -- -- -- - --+ -+ 1 +
POST        /api/v1/tokens/<id>:disable        11 11 -- -- -- -- -- - --+ -+ 1 +
POST        /api/v1/tokens/<id>:enable         11 11 -- -- -- -- -- - --+ -+ 1 +
POST        /api/v1/tokens/<id>:rotate         11 11 -- -- -- -- -- - --+ -- 1 +
POST        /api/v1/tokens/<id>:rotate#user    11 11 -- -- -- -- -- - --- -- 1 -
GET|HEAD    /api/v1/sessions                   11 11 -- -- -- -- -- - --+ -+ 1 +
DELETE      /api/v1/sessions/<id>              11 11 -- -- -- -- -- - --+ -+ 1 +

GET|HEAD    /api/v1/grants                     11 11 ++ ++ ++ ++ ++ + +++ -+ 1 +
POST        /api/v1/grants                     11 11 -- -- -- -- ++ - --+ -- 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -- 1 +
POST        /api/v1/grants#prefix              11 11 -- -- -- -- -+ - --+ -- 1 +
GET|HEAD    /api/v1/grants/<id>                11 11 ?? ?? ?? ?? ++ ? +?+ -? 1 +
PATCH       /api/v1/grants/<id>                11 11 ?? ?? ?? ?? ++ ? -?+ -? 1 +
DELETE      /api/v1/grants/<id>                11 11 ?? ?? ?? ?? ++ ? -?+ -? 1 +

GET|HEAD    /api/v1/repos                      1+ 11 ++ ++ ++ ++ ++ + +++ ++ 1 +
POST        /api/v1/repos                      11 11 -- -- ++ ++ ++ + --+ -- 1 +
                                       public  11 11 -- -- ++ ++ ++ + --+ -- 1 +
POST        /api/v1/repos#shown                11 11 -- -- -- -- ++ - --+ -- 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -- 1 +
GET|HEAD    /api/v1/repos/<name>               11 11 ?? ++ ++ ++ ++ ? +?+ +? 1 +
                                       public  1+ 11 ++ ++ ++ ++ ++ + +++ +? 1 +
PATCH       /api/v1/repos/<name>               11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
DELETE      /api/v1/repos/<name>               11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
POST        /api/v1/repos/<name>:restore       11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
GET|HEAD    /api/v1/repos/<name>/-/tags        11 11 ?? ++ ++ ++ ++ ? +?+ +? 1 +
                                       public  1+ 11 ++ ++ ++ ++ ++ + +++ +? 1 +
POST        /api/v1/repos/<name>/-/tags:delete 11 11 ?? -- -- ++ ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- ++ ++ - --+ -? 1 +
GET|HEAD    /api/v1/repos/<name>/-/tags/<tag>  11 11 ?? ++ ++ ++ ++ ? +?+ +? 1 +
                                       public  1+ 11 ++ ++ ++ ++ ++ + +++ +? 1 +
PUT         /api/v1/repos/<name>/-/tags/<tag>  11 11 ?? -- ++ ++ ++ + -?+ -? 1 +
                                       public  11 11 -- -- ++ ++ ++ + --+ -? 1 +
PATCH       /api/v1/repos/<name>/-/tags/<tag>  11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
DELETE      /api/v1/repos/<name>/-/tags/<tag>  11 11 ?? -- -- ++ ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- ++ ++ - --+ -? 1 +
POST        /api/v1/repos/<name>/-/tags/<tag>:restore 11 11 ?? -- -- ++ ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- ++ ++ - --+ -? 1 +
GET|HEAD    /api/v1/repos/<name>/-/history     11 11 ?? ++ ++ ++ ++ ? +?+ +? 1 +
                                       public  1+ 11 ++ ++ ++ ++ ++ + +++ +? 1 +

GET|HEAD    /api/v1/repos/<name>/-/usage       11 11 ?? ++ ++ ++ ++ ? +?+ +? 1 +
                                       public  1+ 11 ++ ++ ++ ++ ++ + +++ +? 1 +

GET|HEAD    /api/v1/repos/<name>/-/policy      11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
PUT         /api/v1/repos/<name>/-/policy      11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
DELETE      /api/v1/repos/<name>/-/policy      11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
POST        /api/v1/repos/<name>/-/policy:preview  11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
GET|HEAD    /api/v1/policies                   11 11 -- -- -- -- -- - -++ -+ 1 +
POST        /api/v1/policies                   11 11 -- -- -- -- -- - --+ -+ 1 +
GET|HEAD    /api/v1/policies/<id>              11 11 -- -- -- -- -- - -++ -+ 1 +
PUT         /api/v1/policies/<id>              11 11 -- -- -- -- -- - --+ -+ 1 +
PATCH       /api/v1/policies/<id>              11 11 -- -- -- -- -- - --+ -+ 1 +
DELETE      /api/v1/policies/<id>              11 11 -- -- -- -- -- - --+ -+ 1 +

GET|HEAD    /api/v1/quotas                     11 11 -- -- -- -- -- - -++ -+ 1 +
POST        /api/v1/quotas                     11 11 -- -- -- -- -- - --+ -+ 1 +
GET|HEAD    /api/v1/quotas/<id>                11 11 -- -- -- -- -- - -++ -+ 1 +
PATCH       /api/v1/quotas/<id>                11 11 -- -- -- -- -- - --+ -+ 1 +
DELETE      /api/v1/quotas/<id>                11 11 -- -- -- -- -- - --+ -+ 1 +
GET|HEAD    /api/v1/usage                      11 11 -- -- -- -- -- - -++ -+ 1 +
GET|HEAD    /api/v1/usage/repos                11 11 ++ ++ ++ ++ ++ + +++ -+ 1 +

GET|HEAD    /api/v1/repos/<name>/-/manifests   11 11 ?? ++ ++ ++ ++ ? +?+ +? 1 +
                                       public  1+ 11 ++ ++ ++ ++ ++ + +++ +? 1 +
GET|HEAD    /api/v1/repos/<name>/-/manifests/<manifest> 11 11 ?? ++ ++ ++ ++ ? +?+ +? 1 +
                                       public  1+ 11 ++ ++ ++ ++ ++ + +++ +? 1 +
DELETE      /api/v1/repos/<name>/-/manifests/<manifest> 11 11 ?? -- -- ++ ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- ++ ++ - --+ -? 1 +
POST        /api/v1/repos/<name>/-/manifests/<manifest>:restore 11 11 ?? -- -- ++ ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- ++ ++ - --+ -? 1 +
GET|HEAD    /api/v1/repos/<name>/-/manifests/<manifest>/referrers 11 11 ?? ++ ++ ++ ++ ? +?+ +? 1 +
                                       public  1+ 11 ++ ++ ++ ++ ++ + +++ +? 1 +
GET|HEAD    /api/v1/repos/<name>/-/manifests/<manifest>/provenance 11 11 ?? ++ ++ ++ ++ ? +?+ +? 1 +
                                       public  1+ 11 ++ ++ ++ ++ ++ + +++ +? 1 +
GET|HEAD    /api/v1/repos/<name>/-/pins        11 11 ?? ++ ++ ++ ++ ? +?+ +? 1 +
                                       public  1+ 11 ++ ++ ++ ++ ++ + +++ +? 1 +
GET|HEAD    /api/v1/repos/<name>/-/pins/<pin>  11 11 ?? ++ ++ ++ ++ ? +?+ +? 1 +
                                       public  1+ 11 ++ ++ ++ ++ ++ + +++ +? 1 +
PUT         /api/v1/repos/<name>/-/pins/<pin>  11 11 ?? -- ++ ++ ++ + -?+ -? 1 +
                                       public  11 11 -- -- ++ ++ ++ + --+ -? 1 +
DELETE      /api/v1/repos/<name>/-/pins/<pin>  11 11 ?? -- -- -- ++ - -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
GET|HEAD    /api/v1/protected                  11 11 ++ ++ ++ ++ ++ + +++ -+ 1 +
POST        /api/v1/protected                  11 11 -- -- -- -- ++ - --+ -- 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -- 1 +
GET|HEAD    /api/v1/protected/<rule>           11 11 ?? ?? ?? ?? ++ ? +?+ -? 1 +
PATCH       /api/v1/protected/<rule>           11 11 ?? ?? ?? ?? ++ ? -?+ -? 1 +
DELETE      /api/v1/protected/<rule>           11 11 ?? ?? ?? ?? ++ ? -?+ -? 1 +

GET|HEAD    /api/v1/audit                      11 11 -- -- -- -- -- - +-+ -+ 1 +
GET|HEAD    /api/v1/scrub                      11 11 -- -- -- -- -- - -++ -+ 1 +
POST        /api/v1/scrub:run                  11 11 -- -- -- -- -- - -++ -+ 1 +
POST        /api/v1/system/keys:rotate         11 11 -- -- -- -- -- - -++ -+ 1 +

GET|HEAD    /api/v1/gc                         11 11 -- -- -- -- -- - -++ -+ 1 +
PUT         /api/v1/gc                         11 11 -- -- -- -- -- - -++ -+ 1 +
GET|HEAD    /api/v1/gc/runs                    11 11 -- -- -- -- -- - -++ -+ 1 +
POST        /api/v1/gc/runs                    11 11 -- -- -- -- -- - -++ -+ 1 +
GET|HEAD    /api/v1/gc/runs/<id>               11 11 -- -- -- -- -- - -?? -? 1 ?
GET|HEAD    /api/v1/jobs                       11 11 -- -- -- -- -- - -++ -+ 1 +
POST        /api/v1/jobs                       11 11 -- -- -- -- -- - -++ -+ 1 +
GET|HEAD    /api/v1/jobs/<id>                  11 11 -- -- -- -- -- - -?? -? 1 ?
GET|HEAD    /api/v1/jobs/<id>/events           11 11 -- -- -- -- -- - -?? -? 1 ?
GET|HEAD    /api/v1/events                     11 11 ++ ++ ++ ++ ++ + +++ -+ 1 +
POST        /api/v1/jobs/<id>:cancel           11 11 -- -- -- -- -- - -?? -? 1 ?

GET|HEAD    /api/v1/repos/<name>/-/builds      11 11 ?? ++ ++ ++ ++ ? +?+ +? 1 +
                                       public  1+ 11 ++ ++ ++ ++ ++ + +++ +? 1 +
POST        /api/v1/repos/<name>/-/builds      11 11 ?? -- ++ ++ ++ + -?+ -? 1 +
                                       public  11 11 -- -- ++ ++ ++ + --+ -? 1 +
POST        /api/v1/repos/<name>/-/tags:rebase 11 11 ?? -- ++ ++ ++ + -?+ -? 1 +
                                       public  11 11 -- -- ++ ++ ++ + --+ -? 1 +
GET|HEAD    /api/v1/repos/<name>/-/build-config 11 11 ?? -- ++ ++ ++ + -?+ -? 1 +
                                       public  11 11 -- -- ++ ++ ++ + --+ -? 1 +
PUT         /api/v1/repos/<name>/-/build-config 11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
PATCH       /api/v1/repos/<name>/-/build-config 11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
DELETE      /api/v1/repos/<name>/-/build-config 11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
GET|HEAD    /api/v1/repos/<name>/-/build-config/secrets 11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
PUT         /api/v1/repos/<name>/-/build-config/secrets/hook/<secret> 11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
DELETE      /api/v1/repos/<name>/-/build-config/secrets/hook/<secret> 11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
PUT         /api/v1/repos/<name>/-/build-config/secrets/source/<secret> 11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
DELETE      /api/v1/repos/<name>/-/build-config/secrets/source/<secret> 11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
PUT         /api/v1/repos/<name>/-/build-config/secrets/file/<secret> 11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
DELETE      /api/v1/repos/<name>/-/build-config/secrets/file/<secret> 11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
PUT         /api/v1/repos/<name>/-/build-config/secrets/callback/<secret> 11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
DELETE      /api/v1/repos/<name>/-/build-config/secrets/callback/<secret> 11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
PUT         /api/v1/repos/<name>/-/build-config/secrets/status/<secret> 11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
DELETE      /api/v1/repos/<name>/-/build-config/secrets/status/<secret> 11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
GET|HEAD    /api/v1/repos/<name>/-/build-config/deliveries 11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
POST        /api/v1/repos/<name>/-/build-config/deliveries:test 11 11 ?? -- -- -- ++ ? -?+ -? 1 +
                                       public  11 11 -- -- -- -- ++ - --+ -? 1 +
GET|HEAD    /api/v1/rebases                    11 11 ++ ++ ++ ++ ++ + +++ -+ 1 +
POST        /api/v1/rebases                    11 11 ++ ++ ++ ++ ++ + +++ -+ 1 +
GET|HEAD    /api/v1/rebases/<id>               11 11 ?? ?? ?? ?? ?? ? ??? -? 1 ?
POST        /api/v1/rebases/<id>:undo          11 11 ?? ?? ?? ?? ?? ? ??? -? 1 ?
GET|HEAD    /api/v1/build-configs              11 11 ++ ++ ++ ++ ++ + +++ -+ 1 +
GET|HEAD    /api/v1/builds                     11 11 ++ ++ ++ ++ ++ + +++ -+ 1 +
GET|HEAD    /api/v1/system/builds              11 11 -- -- -- -- -- - -++ -+ 1 +
GET|HEAD    /api/v1/builds/<id>                11 11 ?? ++ ++ ++ ++ + +?+ -? 1 +
GET|HEAD    /api/v1/builds/<id>/log            11 11 ?? ++ ++ ++ ++ + +?+ -? 1 +
POST        /api/v1/builds/<id>:cancel         11 11 ?? -- ++ ++ ++ + -?+ -? 1 +
POST        /api/v1/builds/<id>:verify         11 11 ?? -- ++ ++ ++ + -?+ -? 1 +
GET|HEAD    /api/v1/builds/<id>/differences    11 11 ?? ++ ++ ++ ++ + +?+ -? 1 +
POST        /api/v1/builds/<id>:retry          11 11 ?? -- ++ ++ ++ + -?+ -? 1 +
POST        /api/v1/hooks/<hook>/github        -- -- -- -- -- -- -- - --- -- - 0
POST        /api/v1/hooks/<hook>/gitlab        -- -- -- -- -- -- -- - --- -- - 0
POST        /api/v1/hooks/<hook>/gitea         -- -- -- -- -- -- -- - --- -- - 0
POST        /api/v1/hooks/<hook>/bitbucket     -- -- -- -- -- -- -- - --- -- - 0
POST        /api/v1/hooks/<hook>/generic       -- -- -- -- -- -- -- - --- -- - 0

GET         /git/<name>.git/info/refs?service=git-upload-pack 11 -- -- ++ ++ ++ ++ - +-+ +- 1 0
                                       public  11 -+ ++ ++ ++ ++ ++ + +++ +- 1 0
GET         /git/<name>.git/info/refs?service=git-receive-pack 11 -- -- -- ++ ++ ++ + --+ -- 1 0
                                       public  11 -- -- -- ++ ++ ++ + --+ -- 1 0
GET         /git/<name>.git/info/refs 11 -- -- ++ ++ ++ ++ - +-+ +- 1 0
                                       public  11 -+ ++ ++ ++ ++ ++ + +++ +- 1 0
POST        /git/<name>.git/git-upload-pack 11 -- -- ++ ++ ++ ++ - +-+ +- 1 0
                                       public  11 -+ ++ ++ ++ ++ ++ + +++ +- 1 0
POST        /git/<name>.git/git-receive-pack 11 -- -- -- ++ ++ ++ + --+ -- 1 0
                                       public  11 -- -- -- ++ ++ ++ + --+ -- 1 0
GET         /<name>.git/info/refs?service=git-upload-pack 11 -- -- ++ ++ ++ ++ - +-+ +- 1 0
                                       public  11 -+ ++ ++ ++ ++ ++ + +++ +- 1 0
GET         /<name>.git/info/refs?service=git-receive-pack 11 -- -- -- ++ ++ ++ + --+ -- 1 0
                                       public  11 -- -- -- ++ ++ ++ + --+ -- 1 0
GET         /<name>.git/info/refs 11 -- -- ++ ++ ++ ++ - +-+ +- 1 0
                                       public  11 -+ ++ ++ ++ ++ ++ + +++ +- 1 0
POST        /<name>.git/git-upload-pack 11 -- -- ++ ++ ++ ++ - +-+ +- 1 0
                                       public  11 -+ ++ ++ ++ ++ ++ + +++ +- 1 0
POST        /<name>.git/git-receive-pack 11 -- -- -- ++ ++ ++ + --+ -- 1 0
                                       public  11 -- -- -- ++ ++ ++ + --+ -- 1 0

GET|HEAD    /livez                             ++ ++ ++ ++ ++ ++ ++ + +++ ++ + +
GET|HEAD    /startupz                          ++ ++ ++ ++ ++ ++ ++ + +++ ++ + +
GET|HEAD    /readyz                            ++ ++ ++ ++ ++ ++ ++ + +++ ++ + +
"""

# Which credentials count where. What does not is refused with 401 whoever shows it; a cookie that does not count is
# none, and where nobody is asked nothing is looked at.
COUNTS = {"/v2": ("password", "token", "jwt"), "/token": ("password", "token"),
          "/git": ("password", "token"), "/<name>": ("password", "token"),
          "/api": ("password", "token", "bearer", "cookie")}
GIT = ("/git", "/<name>")
TOKENS_ONLY = {"robot", "chief-pull", "chief-api"}
OPEN_TO_ALL = {"/api/v1/session", "/api/v1/setup", "/api/v1/openapi.json", "/api/v1/keys", "/api/v1/repos"}

# Requests that a row's path alone does not make harmless or complete; "#" tells one from another of the same route.
STALE = ("If-Match", '"999999"')
BODIES = {
    "PUT /v2/<name>/manifests/<reference>": b"not a manifest",
    "POST /api/v1/me/tokens#everything": {"label": "matrix"},
    "POST /api/v1/grants": {"account": "nobody-of-that-name", "pattern": "<repository>", "level": "read"},
    "POST /api/v1/grants#prefix": {"account": "nobody-of-that-name", "pattern": "m/*", "level": "read"},
    "PATCH /api/v1/grants/<id>": {"level": "read"},
    "POST /api/v1/quotas": {"kind": "account", "subject": "nobody-of-that-name", "bytes": 1},
    "PATCH /api/v1/quotas/<id>": {"bytes": 1},
    "PUT /api/v1/repos/<name>/-/policy": {"mode": "off"},
    "PUT /api/v1/policies/<id>": {"mode": "off"},
    "PUT /api/v1/gc": {"paused": "no flag"},
    "POST /api/v1/gc/runs": {"dry_run": "no flag"},
    "POST /api/v1/protected": {"pattern": "<repository>"},
    "POST /api/v1/repos": {"name": "<repository>"},
    **{f"POST /api/v1/hooks/<hook>/{sender}": {} for sender in ("github", "gitlab", "gitea", "bitbucket", "generic")},
    "POST /api/v1/repos#shown": {"name": "<repository>", "visibility": "public"},
}
QUERIES = {"DELETE /api/v1/sessions/<id>": "?dry_run=true", "DELETE /api/v1/me/sessions/<id>": "?dry_run=true",
           "DELETE /api/v1/users/<account>/sessions": "?dry_run=true",
           "DELETE /api/v1/repos/<name>/-/tags/<tag>": "?dry_run=true",
           "DELETE /api/v1/repos/<name>/-/manifests/<manifest>": "?dry_run=true",
           "DELETE /api/v1/repos/<name>/-/pins/<pin>": "?dry_run=true",
           "GET /api/v1/events": "?once=true",
           "PUT /v2/<name>/blobs/uploads/<id>": f"?digest={ABSENT}"}
REPLIES = {200, 201, 202, 204, 400, 404, 409, 412, 415, 416, 422}  # of what goes through


class Row:
    def __init__(self, method, path, cells):
        self.method, (self.pattern, _, self.variant) = method, path.partition("#")
        self.key = f"{method} {path}"
        self.cells = {False: dict(zip(COLUMNS, cells)), True: None}
        signed = self.pattern.startswith("/api/v1/hooks/")  # by its sender: no other credential counts
        self.area = None if signed else next((area for area in COUNTS if self.pattern.startswith(area)), None)

    def repositories(self):
        return (PRIVATE, PUBLIC) if self.cells[True] else (PRIVATE,)

    def as_get(self):
        return next(row for row in ROWS if row.key == self.key.replace("HEAD", "GET"))

    def speaks_of_repository(self):
        return "<name>" in self.pattern or "<repository>" in str(BODIES.get(self.key, ""))

    def expected(self, repository, column):
        return self.cells[bool(self.cells[True]) and repository == PUBLIC][column]


def table():
    rows, last = [], []
    for line in filter(None, TABLE.splitlines()):
        head, *rest = line.split()
        if head == "public":
            for row in last:
                row.cells[True] = dict(zip(COLUMNS, "".join(rest)))
        else:
            last = [Row(method, rest[0], "".join(rest[1:])) for method in head.split("|")]
            rows += last
        cells = "".join(rest if head == "public" else rest[1:])
        assert len(cells) == len(COLUMNS) and not set(cells) - set("+-1?0"), line
    return rows


ROWS = table()


def served():
    """The routes of the server, as its own table says."""
    path = pathlib.Path(os.environ.get("SLIPWAY_BUILD", process.TOP / "build/release")) / "tests/support/routes"
    if "SLIPWAY_BUILD" not in os.environ:
        subprocess.run(["make", "-s", str(path.relative_to(process.TOP))], cwd=process.TOP, check=True)
    return json.loads(subprocess.run([path], capture_output=True, check=True).stdout)


@pytest.fixture(scope="module")
def routes():
    return served()


# --- who is who ---

LEVELS = {"read": READ, "write": WRITE, "maintain": MAINTAIN, "manage": MAINTAIN | MANAGE}
ROLES = {"auditor": people.AUDITOR, "operator": people.OPERATOR, "chief": people.ADMIN}


def accounts(to):
    to.secrets = {}
    for level, rights in LEVELS.items():
        to.user(level)
        to.user(level + "s")
        to.grant(level + "s", "m/*", rights)
        for repository in (PRIVATE, PUBLIC):
            to.grant(level, repository, rights)
    for name in ("bare", "other", "bystander", "gone"):
        to.user(name)
    to.grant("other", ELSEWHERE, MAINTAIN | MANAGE)
    to.grant("gone", "*", MAINTAIN | MANAGE)
    to.grant("bystander", PRIVATE, READ)
    for name, role in ROLES.items():
        to.user(name, role)
    to.robot("robot")
    to.robot("machine")
    for repository in (PRIVATE, PUBLIC):
        to.grant("robot", repository, PUSH)
    for name in [*LEVELS, *(level + "s" for level in LEVELS), *ROLES, "bare", "other", "robot", "gone", "bystander"]:
        to.secrets[name] = to.token(name)
    to.secrets["chief-pull"] = to.token("chief", "repository:m/*:pull")
    to.secrets["chief-api"] = to.token("chief", "api")
    to.public(PUBLIC)


class Caller:
    """One column: what it can show, on a connection of its own."""

    def __init__(self, server, column):
        self.server, self.column, self.tokens, self.cookie = server, column, {}, None
        self.client = wire.Client(server.admin if column == "socket" else server.target)
        self.name = None if column in ("nobody", "stranger", "socket") else column.split("-")[0]
        self.secret = server.accounts.secrets.get(column)
        self.credentials = self.find_credentials()

    def find_credentials(self):
        if self.column in ("nobody", "socket"):
            return ["nothing"]
        if self.column == "stranger":
            return ["jwt"]
        if self.column in TOKENS_ONLY:
            return ["token", "bearer", "jwt"]
        self.cookie = self.sign_in()
        return ["password", "token", "bearer", "jwt", "cookie"]

    def sign_in(self):
        body = json.dumps({"username": self.name, "password": people.password_of(self.name)}).encode()
        response = self.client.post("/api/v1/session", body, headers=[("Content-Type", "application/json")])
        assert response.status == 204, response
        return response["Set-Cookie"].split(";")[0]

    def jwt(self, scope):
        """For exactly what the challenge said, or what a push asks for who does nothing else."""
        if self.column == "robot" and scope.endswith(":pull"):
            scope += ",push"
        if scope not in self.tokens:
            pair = (None, "") if self.name is None else \
                (self.name, self.secret if self.column in TOKENS_ONLY else people.password_of(self.name))
            self.tokens[scope] = tokens.fetch(self.client, scope.split(), *pair)
        return self.tokens[scope]

    def headers(self, credential, scope, signs_out=False):
        """scope: what an access token is for. signs_out: it is the last request of its session."""
        if credential == "password":
            return [tokens.basic(self.name, people.password_of(self.name))]
        if credential == "token":
            return [tokens.basic(self.name, self.secret)]
        if credential == "bearer":
            return [tokens.bearer(self.secret)]
        if credential == "jwt":
            return [tokens.bearer(self.jwt(scope))]
        if credential == "cookie":
            return [("Cookie", self.sign_in() if signs_out and self.column != "gone" else self.cookie),
                    ("Sec-Fetch-Site", "same-origin")]
        return []

    def own_token(self):
        return self.server.accounts.token_ids.get(self.column, self.server.accounts.token_ids["bystander"])


class World:
    def __init__(self, folder, anonymous):
        self.pull = anonymous == "pull"
        settings = {"auth.anonymous": anonymous, "builds.enabled": "true", "builds.builder": "external"}
        self.server = people.Registry(folder, settings, people=accounts)
        self.server.start()
        plan.content(self.server, [PRIVATE, PUBLIC, ELSEWHERE])
        self.protect()
        self.read_ids()
        names = [name for name in COLUMNS if not name.endswith("/pull")]
        self.callers = {name: Caller(self.server, name) for name in names}
        self.scopes = {}
        for row in ROWS:
            for repository in row.repositories():
                self.callers["gone"].jwt(self.scope_of(row, repository))
        self.disable("gone")

    def close(self):
        for caller in self.callers.values():
            caller.client.close()
        self.server.finish()

    def read_ids(self):
        own = self.server.accounts
        with own.rows() as rows:
            hints = dict(rows.execute("SELECT hint, id FROM tokens"))
            own.token_ids = {name: hints[secret[:16]] for name, secret in own.secrets.items()}
            self.grant, = rows.execute("SELECT id FROM grants WHERE account_id = ?", [own.ids["bystander"]]).fetchone()
            self.machine, = rows.execute("SELECT id FROM tokens WHERE account_id = ?", [own.ids["machine"]]).fetchone()
        self.session = self.session_of("bystander")
        self.quota = self.made("/quotas", {"kind": "repositories", "subject": "x/*", "bytes": 1 << 40})
        keep = [{"rulePriority": 1, "selection": {"tagStatus": "any"}, "action": {"type": "keep"}}]
        self.build = self.built()
        self.hook = self.configured()
        self.policies = {name: self.made("/policies", {"pattern": name, "mode": "off", "rules": keep})
                         for name in (PRIVATE, PUBLIC)}

    def made(self, path, body):
        """The number of what the administrator makes."""
        with contextlib.closing(wire.Client(self.server.admin)) as client:
            return client.post("/api/v1" + path, json.dumps(body).encode(),
                               headers=[("Content-Type", "application/json")]).json()["id"]

    def built(self):
        """A build that failed just now, of an archive that is gone, and its log."""
        now = people.now_us()
        build = self.server.accounts.insert("builds", repository=PRIVATE, state=4, policy=0, source=3, triggered_by="api",
                                            actor="write", spec='{"options": {}}', created_at=now, finished_at=now)
        logs = self.server.root / "builds/logs"
        logs.mkdir(parents=True, exist_ok=True)
        (logs / f"{build}.log").write_text("-----> nothing\n")
        return build

    def configured(self):
        """Both repositories have a configuration; the id of the webhooks of one."""
        kind = [("Content-Type", "application/json")]
        with contextlib.closing(wire.Client(self.server.admin)) as client:
            return [client.put(f"/api/v1/repos/{name}/-/build-config", b'{"options": {}}', headers=kind).json()["hook"]
                    for name in (PRIVATE, PUBLIC)][0]

    def protect(self):
        """A pin on a manifest of its own, and a rule on tags that are not there."""
        kind = [("Content-Type", "application/json")]
        other = content.compact({**json.loads(plan.MANIFEST), "annotations": {"of": "pinned"}})
        with contextlib.closing(self.server.caller("root")) as client:
            for name in (PRIVATE, PUBLIC):
                assert content.put_manifest(client, name, "pinned", other).status == 201
        with contextlib.closing(wire.Client(self.server.admin)) as client:
            pin = json.dumps({"reference": "pinned", "until": time.strftime("%FT%TZ", time.gmtime(time.time() + 9999))})
            for name in (PRIVATE, PUBLIC):
                assert client.put(f"/api/v1/repos/{name}/-/pins/pinned", pin.encode(), headers=kind).status == 201
            rule = json.dumps({"pattern": PRIVATE, "tags": "none-*", "immutable": True}).encode()
            self.rule = client.post("/api/v1/protected", rule, headers=kind).json()["id"]

    def session_of(self, name):
        with contextlib.closing(self.server.client()) as client:
            body = json.dumps({"username": name, "password": people.password_of(name)}).encode()
            cookie = client.post("/api/v1/session", body, headers=[("Content-Type", "application/json")])["Set-Cookie"]
            return client.get("/api/v1/session", headers=[("Cookie", cookie.split(";")[0])]).json()["session"]

    def disable(self, name):
        with contextlib.closing(wire.Client(self.server.admin)) as client:
            assert client.post(f"/api/v1/users/{name}:disable").status == 200

    # --- one request ---

    def path(self, row, repository, caller):
        reference = plan.TAG if row.method in ("GET", "HEAD", "PUT") else ABSENT
        known = row.method in ("GET", "HEAD") and "/blobs/" in row.pattern
        ids = {"/blobs/uploads/": UPLOAD, "/me/tokens/": caller.own_token(), "/grants/": self.grant,
               "/tokens/": self.machine, "/sessions/": self.session,
               "/quotas/": self.quota, "/policies/": self.policies[PRIVATE], "/runs/": 999999, "/jobs/": 999999,
               "/builds/": self.build, "/rebases/": 999999}
        if row.variant == "another":
            ids["/me/tokens/"] = self.server.accounts.token_ids["manage" if caller.column != "manage" else "write"]
        if row.variant == "user":
            ids["/tokens/"] = self.server.accounts.token_ids["bystander"]
        path = row.pattern.replace("<name>", repository).replace("<reference>", reference)
        path = path.replace("<digest>", digest(plan.LAYER) if known else ABSENT)
        path = path.replace("<tag>", plan.TAG).replace("<manifest>", digest(plan.MANIFEST))
        path = path.replace("<pin>", "pinned").replace("<rule>", str(self.rule))
        path = path.replace("<hook>", self.hook).replace("<secret>", "-")  # no name of a secret: nothing is changed
        path = path.replace("<account>", "machine" if "/robots/" in row.pattern else "bystander")
        if "<id>" in path:
            path = path.replace("<id>", str(next(value for part, value in ids.items() if part in path)))
        return path + QUERIES.get(row.key, "")

    def body(self, row, repository):
        if row.method in ("GET", "HEAD", "DELETE"):
            return None, []
        body = BODIES.get(row.key, {} if row.area == "/api" else b"")
        if isinstance(body, bytes):
            kind = "application/x-www-form-urlencoded" if row.area == "/token" else content.IMAGE
            return body, [("Content-Type", kind)]
        return json.dumps(body).replace("<repository>", repository).encode(), [("Content-Type", "application/json")]

    def send(self, row, repository, caller, headers):
        body, more = self.body(row, repository)
        if row.area == "/api" and "<" in row.pattern and row.method not in ("GET", "HEAD"):
            more = [*more, STALE]
        path = self.path(row, repository, caller)
        return caller.client.request(row.method, path, body, [*headers, *more])

    def scope_of(self, row, repository):
        """What nobody is told to come back with."""
        if row.area != "/v2":
            return ""
        if (row.key, repository) not in self.scopes:
            response = self.send(row, repository, self.callers["nobody"], [])
            self.scopes[row.key, repository] = tokens.parse_challenge(response).get("scope", "")
        return self.scopes[row.key, repository]

    def ask(self, row, repository, caller, credential):
        signs_out = row.key == "DELETE /api/v1/session"
        headers = caller.headers(credential, self.scope_of(row, repository), signs_out)
        response = self.send(row, repository, caller, headers)
        if response.status == 202 and "Location" in response:
            assert caller.client.delete(response["Location"], headers=headers).status == 204  # UPL-28
        return response


ABSENT_CODES = {"BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "NAME_UNKNOWN", "BLOB_UPLOAD_UNKNOWN"}


def outcome(response, row):
    """As a letter of TABLE, with 3 for 403."""
    if response.status in (401, 403):
        return "1" if response.status == 401 else "3"
    if response.status != 404:
        return "+" if response.status in REPLIES else f"({response.status})"
    if row.area == "/api":
        return "0" if "no account behind" in response.json()["detail"] else "?"
    if row.area in GIT:
        return "+" if b"has no sources here" in response.body else "0"
    return "+" if row.area is not None and response.code in ABSENT_CODES else "0"


def wanted(row, repository, column, credential, nobody):
    """The letter that must come out, with 3 for 403. nobody: the column of who shows nothing."""
    letter = row.expected(repository, column)
    if row.area is None or credential == "nothing":
        return "3" if letter == "-" else letter
    if credential not in COUNTS[row.area]:
        return row.expected(repository, nobody) if credential == "cookie" else "1"
    if credential == "cookie" and column == "gone" and row.pattern in OPEN_TO_ALL:
        return row.expected(repository, nobody)  # a cookie that ended is no obstacle to signing in
    if letter == "-":
        return "1" if credential == "jwt" else "3"
    return letter


def check_refusal(response, row, credential, where):
    """Spec: TOK-03, TOK-06, TOK-16, TOK-50; console-and-ops section 7."""
    if response.status != 401:
        assert "WWW-Authenticate" not in response, where
        return
    challenge = response["WWW-Authenticate"]
    assert challenge.startswith("Basic " if row.area in ("/token", *GIT) else "Bearer "), where
    if row.area == "/v2" and credential in ("jwt", "bearer"):
        assert tokens.parse_challenge(response)["error"] in ("invalid_token", "insufficient_scope"), where
    elif row.area == "/v2":
        assert "error=" not in challenge, where


@pytest.fixture(scope="module", params=["none", "pull"])
def world(folder, request):
    value = World(folder / f"matrix-{request.param}", request.param)
    yield value
    value.close()


def every(world):
    """Each row on each repository, by each caller, with each credential: what is expected."""
    columns = {name.removesuffix("/pull"): name for name in COLUMNS if world.pull or not name.endswith("/pull")}
    for row in ROWS:
        for repository in row.repositories():
            for name, column in columns.items():
                for credential in world.callers[name].credentials:
                    yield (row, repository, world.callers[name], credential,
                           wanted(row, repository, column, credential, columns["nobody"]))


# --- the tests ---


def test_every_route_stands_in_the_table(routes):
    real = {f"{method} {route['pattern']}" for route in routes for method in route["methods"]}
    written = {f"{row.method} {row.pattern}" for row in ROWS}
    assert real - written == set(), "routes without a row"
    assert written - real == set(), "rows without a route"
    keys = [row.key for row in ROWS]
    assert len(set(keys)) == len(keys), "a row stands twice"


@pytest.mark.spec("AUTHZ-01", "AUTHZ-02", "TOK-50", "TOK-34", "TOK-70", "UPL-28")
def test_matrix(world):
    wrong, count = [], 0
    for row, repository, caller, credential, expected in every(world):
        response = world.ask(row, repository, caller, credential)
        count += 1
        where = f"{row.key} on {repository} by {caller.column} with {credential}"
        telling = response
        if (row.method, response.status) == ("HEAD", 404):  # has no body that tells why
            telling = world.ask(row.as_get(), repository, caller, credential)
        if outcome(telling, row) != expected:
            wrong.append(f"{where}: wanted {expected}, got {response.status} {response.body[:120]!r}")
        else:
            check_refusal(response, row, credential, where)
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(wrong[:60])


STRANGERS = ("nobody", "stranger", "bare", "other", "operator")  # have no right on either repository


def neutral(response, name):
    """The whole answer, without what is another in each."""
    headers = sorted((key.lower(), value.replace(name, "NAME")) for key, value in response.headers
                     if key.lower() not in ("date", "x-request-id"))
    request_id = response.get("X-Request-Id", "-").encode()
    return response.status, headers, response.body.replace(request_id, b"ID").replace(name.encode(), b"NAME")


@pytest.mark.spec("AUTHZ-01", "TOK-09", "TOK-72")
def test_strangers_learn_nothing(world):
    """Each refusal is the same, byte by byte, for a repository that is there and for one that is not."""
    compared = 0
    for row, repository, caller, credential, expected in every(world):
        if repository != PRIVATE or caller.column not in STRANGERS or not row.speaks_of_repository() or expected == "+":
            continue
        there, absent = (neutral(world.ask(row, name, caller, credential), name) for name in (PRIVATE, MISSING))
        assert there == absent, f"{row.key} by {caller.column} with {credential}"
        compared += 1
    assert compared > 400


OTHER_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "LINK")


@pytest.mark.spec("HTTP-13", "AUTHZ-01", "TOK-19")
def test_methods_that_a_path_does_not_know(world, routes):
    """405 with what there is, the same whoever asks and whether or not the repository is there."""
    known = {}
    for route in routes:
        known.setdefault(route["pattern"], set()).update(route["methods"])
    for pattern, methods in known.items():
        row = next(row for row in ROWS if row.pattern == pattern)
        for method in set(OTHER_METHODS) - methods:
            answers = set()
            for name, headers in (("nobody", []), ("bare", None), ("chief", None), ("gone", None)):
                caller = world.callers[name]
                headers = caller.headers("password", "") if headers is None else headers
                for repository in (PRIVATE, MISSING):
                    path = world.path(row, repository, caller)
                    response = caller.client.request(method, path, None, headers)
                    assert response.status == 405, f"{method} {path}: {response!r}"
                    assert set(response["Allow"].split(", ")) == methods, pattern
                    answers.add(str(neutral(response, repository)))
            assert len(answers) == 1, f"{method} {pattern}"


@pytest.mark.spec("AUTHZ-01")
@pytest.mark.parametrize("path", [
    "/", "/v1/", "/v3/", "/v2/m", f"/v2/{PRIVATE}", f"/v2/{PRIVATE}/tags", f"/v2/{PRIVATE}/blobs",
    f"/v2/{PRIVATE}/nothing/x", "/api", "/api/", "/api/v1", "/api/v1/", "/api/v2/users", "/api/v1/nothing",
    "/api/v1/users/bystander/nothing",
    "/api/v1/me/nothing", "/api/v1/tokens/1/2", "/token/", "/metrics", "/debug"])
def test_paths_that_are_none(world, path):
    for method in ("GET", "DELETE"):
        answers = set()
        for name in ("nobody", "bare", "chief"):
            caller = world.callers[name]
            headers = [] if name == "nobody" else caller.headers("password", "")
            response = caller.client.request(method, path, None, headers)
            assert response.status == 404, f"{method} {path} by {name}: {response!r}"
            answers.add(str(neutral(response, PRIVATE)))
        assert len(answers) == 1


@pytest.mark.spec("AUTHZ-01")
def test_credentials_count_at_the_admin_socket_too(world):
    """Who shows some is who they say, with no right of the socket's."""
    client, bare, gone = world.callers["socket"].client, world.callers["bare"], world.callers["gone"]
    assert client.get("/api/v1/users").status == 200
    for credential in ("password", "token", "bearer"):
        assert client.get("/api/v1/users", headers=bare.headers(credential, "")).status == 403
        assert client.get("/api/v1/session", headers=bare.headers(credential, "")).json()["name"] == "bare"
        assert client.get("/api/v1/users", headers=gone.headers(credential, "")).status == 401
    assert client.get("/api/v1/users", headers=[tokens.basic("chief", "wrong")]).status == 401
    assert client.get("/api/v1/users").status == 200


@pytest.mark.spec("AUTHZ-01")
def test_a_remembered_identity_is_that_of_its_header(world):
    """One connection, many callers: what was granted last must not rub off."""
    path = f"/v2/{PRIVATE}/tags/list"
    with contextlib.closing(world.server.client()) as client:
        for _ in range(3):
            for name, status in (("chief", 200), ("bare", 403), ("read", 200), ("gone", 401), ("other", 403)):
                assert client.get(path, headers=world.callers[name].headers("password", "")).status == status
                assert client.get(path).status == 401
                assert client.get("/api/v1/audit").status == 401
