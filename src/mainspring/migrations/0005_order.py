from django.db import migrations, models

NAMES = {'mainspring_limit': ['name'], 'mainspring_hold': ['limit_name'], 'mainspring_job': ['order_key', 'parked_under']}


def compare_by_bytes(apps, schema_editor):  # type: ignore[no-untyped-def]
    """Have stretches of names mean the same on PostgreSQL as everywhere, whatever language the database is in."""
    if schema_editor.connection.vendor == 'postgresql':
        for table, columns in NAMES.items():
            changes = ', '.join(f'ALTER COLUMN {name} TYPE varchar(200) COLLATE "C"' for name in columns)
            schema_editor.execute(f'ALTER TABLE {table} {changes}')


class Migration(migrations.Migration):

    dependencies = [('mainspring', '0004_limits')]

    operations = [
        migrations.AddField(model_name='finished', name='order_key', field=models.CharField(max_length=200, null=True)),
        migrations.AddField(model_name='finished', name='fair_key', field=models.CharField(max_length=220, null=True)),
        migrations.AddField(model_name='job', name='order_key', field=models.CharField(max_length=200, null=True)),
        migrations.AddField(model_name='job', name='fair_key', field=models.CharField(max_length=220, null=True)),
        migrations.AddField(model_name='job', name='blocks', field=models.CharField(max_length=32, null=True)),
        migrations.AddField(model_name='job', name='turn', field=models.BigIntegerField(null=True)),
        migrations.RunPython(compare_by_bytes, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(
                condition=models.Q(order_key__isnull=False),
                fields=['order_key', 'turn'],
                name='mainspring_job_order',
            ),
        ),
    ]
